"""The text of a tool call, and how well the IDM recovers it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from swirl_lightning.metrics.base import PredictionMetric
from swirl_lightning.types import Prediction, Transition


def write_call(tool: str, arguments: Any) -> str:
    """A call as text: the tool as one word, then its arguments as JSON, ``move_file {"source": "a", "to": "b"}``.

    The tool comes first and has no spaces, so that the kind of an action, its first word, is the tool.

    Args:
        tool: the name; runs of spaces in it become ``_``.
        arguments: what JSON can write; a string is taken as it stands, for calls that are no JSON.
    """
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return f"{'_'.join(tool.split())} {arguments}"


def read_call(action: str) -> tuple[str, Any]:
    """The tool and its arguments. Arguments that are no JSON are given back as text; never raises."""
    tool, _, arguments = action.strip().partition(" ")
    try:
        return tool, json.loads(arguments)
    except (ValueError, RecursionError):
        return tool, arguments


class CallTool(PredictionMetric):
    """Share of actions that call the true tool, in [0, 1]."""

    def update(self, transitions: Sequence[Transition], predictions: Sequence[Prediction]) -> None:
        """Adds N transitions with what was said of them."""
        self.add([float(said[0] == true[0]) for said, true in _calls(transitions, predictions)])


class CallArguments(PredictionMetric):
    """Mean F1 between the arguments of the predicted and of the true call, in [0, 1].

    Names and values both count: a nested argument is taken apart into pairs of path and value, such as
    ``("names", 0)`` and ``"Ada"``. 0 where the tool is wrong; 1 where the tool is right and neither call has arguments.
    """

    def update(self, transitions: Sequence[Transition], predictions: Sequence[Prediction]) -> None:
        """Adds N transitions with what was said of them."""
        self.add([_argument_f1(said, true) for said, true in _calls(transitions, predictions)])


def _calls(
    transitions: Sequence[Transition], predictions: Sequence[Prediction]
) -> Iterator[tuple[tuple[str, Any], tuple[str, Any]]]:
    for t, p in zip(transitions, predictions, strict=True):
        yield read_call(p.action), read_call(t.action or "")


def _argument_f1(said: tuple[str, Any], true: tuple[str, Any]) -> float:
    if said[0] != true[0]:
        return 0.0
    found, wanted = (Counter(_pairs(call[1])) for call in (said, true))
    size = found.total() + wanted.total()
    return 2 * (found & wanted).total() / size if size else 1.0


def _pairs(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The path and the JSON of each value that is no container; an empty container is a value, but for the whole."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, dict | list) and (value or not path):
        for key, child in children:
            yield from _pairs(child, (*path, key))
    else:
        yield path, json.dumps(value)
