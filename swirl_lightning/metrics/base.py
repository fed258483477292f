"""What an environment adds to the metrics of every environment."""

from __future__ import annotations

from collections.abc import Sequence

from swirl_lightning.metrics.mean import MeanScore
from swirl_lightning.types import Prediction, Transition


class PredictionMetric(MeanScore):
    """The mean of one score per transition, of what both roles said of it.

    A subclass says what one transition scores. One that scores many at once overrides ``update`` instead. A data module
    names the metrics of its environment in ``metrics``.
    """

    def update(self, transitions: Sequence[Transition], predictions: Sequence[Prediction]) -> None:
        """Adds N labelled transitions with what was said of them.

        Raises:
            ValueError: the lists differ in length.
        """
        scores = [self.score(t, said) for t, said in zip(transitions, predictions, strict=True)]
        self.add([score for score in scores if score is not None])

    def score(self, transition: Transition, prediction: Prediction) -> float | None:
        """The score of one transition; a next state that is None scores lowest. None leaves the transition out."""
        raise NotImplementedError
