"""What metrics here are made of: the mean of one score per item, or of one per transition."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real

import torch
from torch import Tensor
from torchmetrics import Metric

from swirl_lightning.types import InputError, Prediction, Transition


class MeanScore(Metric):
    """Base of metrics whose value is a mean over all items seen, on all processes; NaN before the first.

    A subclass's ``update`` passes its scores to ``add``.

    Args:
        variant: tells metrics of one class apart that score different things.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    total: Tensor
    count: Tensor

    def __init__(self, variant: str = "") -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        # MetricCollection treats metrics as one where their states have equal names and, after the first batch, equal
        # values (both all wrong, say). A state that carries the metric's name keeps them apart.
        self.add_state(type(self).__name__ + variant, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def add(self, scores: Tensor | list[float]) -> None:
        """Adds one score per item: [N]."""
        scores_N = torch.as_tensor(scores, dtype=torch.float64)
        self.total += scores_N.sum().to(self.total.device)
        self.count += len(scores_N)

    def compute(self) -> Tensor:
        """The mean, as a float64 scalar."""
        return self.total / self.count

    def _apply(self, fn: Callable, exclude_state: Sequence[str] = ()) -> MeanScore:
        # Lightning's "bf16-true" converts a whole module with its metrics, and a sum in bf16 soon stops growing.
        super()._apply(fn, exclude_state=(*exclude_state, "total"))
        self.total = self.total.to(self.device)
        return self


class PredictionMetric(MeanScore):
    """The mean of one score per transition, of what both roles said of it.

    A subclass says what one transition scores. One that scores many at once overrides ``update`` instead. A data module
    names the metrics of its environment in ``metrics``.

    Raises:
        TypeError: at its definition: a subclass has neither.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.score is PredictionMetric.score and cls.update is PredictionMetric.update:
            raise TypeError(f"{cls.__name__} has neither a method score, for one transition, nor update, for many")

    def update(self, transitions: Sequence[Transition], predictions: Sequence[Prediction]) -> None:
        """Adds N labelled transitions with what was said of them.

        Raises:
            ValueError: the lists differ in length.
            InputError: a score is no finite number.
        """
        scores = [self.score(t, said) for t, said in zip(transitions, predictions, strict=True)]
        for t, score in zip(transitions, scores, strict=True):
            if not (score is None or (isinstance(score, Real) and math.isfinite(score))):
                raise InputError(
                    f"{type(self).__module__}.{type(self).__qualname__}: episode {t.episode!r}, step {t.step}: found a "
                    f"score of {score!r:.100}, expected a finite number, or None to leave the transition out"
                )
        self.add([float(score) for score in scores if score is not None])

    def score(self, transition: Transition, prediction: Prediction) -> float | None:
        """The score of one transition; a next state that is None scores lowest. None leaves the transition out."""
        raise NotImplementedError
