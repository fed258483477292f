"""The mean of one score per item: what most metrics here are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


class MeanScore(Metric):
    """Base of metrics whose value is a mean over all items seen, on all processes; NaN before the first.

    A subclass's ``update`` passes its scores to ``add``.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        # MetricCollection treats metrics as one where their states have equal names and, after the first batch, equal
        # values (both all wrong, say). A state that carries the class's name keeps them apart.
        self.add_state(type(self).__name__, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

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
