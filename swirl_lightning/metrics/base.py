"""What an environment adds to the metrics of every environment."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from swirl_lightning.metrics.mean import MeanScore
from swirl_lightning.types import Prediction, Transition


class PredictionMetric(MeanScore):
    """The mean of one score per transition, of what both roles said of it.

    A data module names those of its environment in ``metrics``.
    """

    @abstractmethod
    def update(self, transitions: Sequence[Transition], predictions: Sequence[Prediction]) -> None:
        """Adds N labelled transitions with what was said of them; a next state that is None scores lowest."""
