"""Actions of the form "operation on an element, with an argument", and how much of one the IDM gets right.

    CLICK <button id=go> Search
    TYPE <input name=q> = running shoes
    SELECT <select id=size> (2 of 3) = Large

The element is the line by which the page shows it. Actions of another form need their own parser; the scores stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swirl_lightning.metrics.base import PredictionMetric
from swirl_lightning.types import Prediction, Transition

_ELEMENT = re.compile(r"""<(?:[^<>"]|"[^"]*")*>""")  # a tag; what stands in double quotes may hold < and >


@dataclass(frozen=True, slots=True)
class Operation:
    """An action in its parts; two parts are the same where they are equal.

    Args:
        name: what is done.
        element: what it is done to; empty for nothing in particular.
        arguments: what it is done with; None where it needs nothing.
    """

    name: str
    element: str = ""
    arguments: object = None

    def __str__(self) -> str:
        action = " ".join(filter(None, (self.name, self.element)))
        return action if self.arguments is None else f"{action} = {self.arguments}"


Parser = Callable[[str], Operation]


def parse_operation(action: str) -> Operation:
    """Take an action apart; any text has parts, of which some may be empty.

    The argument stands behind the first `` = `` after the element's tag, so that it may hold anything. Runs of spaces
    count as one.
    """
    name, _, rest = " ".join(action.split()).partition(" ")
    tag = _ELEMENT.match(rest)
    start = tag.end() if tag else 0
    text, sign, value = f"{rest[start:]} ".partition(" = ")
    return Operation(name, (rest[:start] + text).strip(), value.strip() if sign else None)


class OperationAccuracy(PredictionMetric):
    """Share of predicted actions whose operation is the true one, in [0, 1].

    Args:
        parse: takes an action apart; a text that is no action becomes an operation that equals no true one.
    """

    def __init__(self, parse: Parser = parse_operation) -> None:
        super().__init__()
        self.parse = parse

    def update(self, transitions: Sequence[Transition], predictions: Sequence[Prediction]) -> None:
        """Adds N labelled transitions with what was said of them."""
        pairs = zip(transitions, predictions, strict=True)
        parts = [(self.parse(t.action or ""), self.parse(p.action)) for t, p in pairs]
        self.add([score for truth, said in parts if (score := self.score(truth, said)) is not None])

    def score(self, truth: Operation, said: Operation) -> float | None:
        """1 or 0; None leaves the transition out."""
        return float(said.name == truth.name)


class ElementAccuracy(OperationAccuracy):
    """Share of predicted actions that are on the true element, in [0, 1], whatever they do to it.

    Element accuracy as in Mind2Web (arXiv 2306.06070), with the element named by its line on the page.
    """

    def score(self, truth: Operation, said: Operation) -> float | None:
        """1 or 0."""
        return float(said.element == truth.element)


class ArgumentAccuracy(OperationAccuracy):
    """Share of the actions that truly have arguments whose arguments are predicted exactly, in [0, 1].

    Actions without any do not count, as most clicks would lift the share; NaN where none has arguments.
    """

    def score(self, truth: Operation, said: Operation) -> float | None:
        """1 or 0; None where there are no arguments to get right."""
        return None if truth.arguments is None else float(said.arguments == truth.arguments)


def operation_metrics(parse: Parser = parse_operation) -> dict[str, PredictionMetric]:
    """The three scores of an environment's actions, by name."""
    return {
        "idm_operation": OperationAccuracy(parse),
        "idm_element": ElementAccuracy(parse),
        "idm_arguments": ArgumentAccuracy(parse),
    }
