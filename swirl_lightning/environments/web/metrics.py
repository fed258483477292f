"""How much of an action on a page the IDM gets right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from swirl_lightning.environments.web.operation import Operation, parse_operation
from swirl_lightning.metrics import PredictionMetric
from swirl_lightning.types import Prediction, Transition


class OperationAccuracy(PredictionMetric):
    """Share of predicted actions of which one part is the true one, in [0, 1], whatever the others are.

    With ``element`` it is the element accuracy of Mind2Web (arXiv 2306.06070), the element named by its line on the
    page. Of the ``arguments`` only actions that truly have some count, as most clicks would lift the share; NaN where
    none has.

    Args:
        part: which part of an action.
        parse: takes an action apart. Actions of another form need a parser of their own; the scores stay.
    """

    def __init__(
        self, part: Literal["name", "element", "arguments"], parse: Callable[[str], Operation] = parse_operation
    ) -> None:
        super().__init__(part)
        self.part = part
        self.parse = parse

    def score(self, transition: Transition, prediction: Prediction) -> float | None:
        """1 or 0; None where there is nothing to get right."""
        said, true = (getattr(self.parse(text), self.part) for text in (prediction.action, transition.action or ""))
        return None if true is None else float(said == true)
