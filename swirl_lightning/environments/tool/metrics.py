"""How much of a call the IDM gets right, and how close the FWM comes to a tool's response."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from swirl_lightning.environments.tool.call import read_call
from swirl_lightning.environments.tool.char_bleu import char_bleu, flatten, response_of
from swirl_lightning.metrics import PredictionMetric
from swirl_lightning.metrics.overlap import bag_f1
from swirl_lightning.types import Prediction, Transition


class CallTool(PredictionMetric):
    """Share of actions that call the true tool, in [0, 1]."""

    def score(self, transition: Transition, prediction: Prediction) -> float:
        """1 or 0."""
        return float(read_call(prediction.action)[0] == read_call(transition.action or "")[0])


class CallArguments(PredictionMetric):
    """Mean F1 between the arguments of the predicted and of the true call, in [0, 1].

    Names and values both count: a nested argument is taken apart into pairs of path and value, such as
    ``("names", 0)`` and ``"Ada"``. 0 where the tool is wrong; 1 where the tool is right and neither call has arguments.
    """

    def score(self, transition: Transition, prediction: Prediction) -> float:
        """F1 of the arguments."""
        (said_tool, said), (true_tool, true) = read_call(prediction.action), read_call(transition.action or "")
        if said_tool != true_tool:
            return 0.0
        return bag_f1(Counter(_pairs(said)), Counter(_pairs(true)))


class CharBleu(PredictionMetric):
    """Mean character BLEU-4 between predicted and true responses, in [0, 100].

    The response alone is scored: what the next state says after the lines that it has in common with the state. It is
    first flattened, see ``flatten``. A next state that is None scores 0.
    """

    def score(self, transition: Transition, prediction: Prediction) -> float:
        """Character BLEU-4 of the response."""
        if prediction.next_state is None:
            return 0.0
        texts = (prediction.next_state, transition.next_state)
        said, true = (flatten(response_of(transition.state, text)) for text in texts)
        return char_bleu(said, true)


def _pairs(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The path and the JSON of each value that is no container; an empty container is a value, but for the whole."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, dict | list) and (value or not path):
        for key, child in children:
            yield from _pairs(child, (*path, key))
    else:
        yield path, json.dumps(value)
