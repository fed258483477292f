"""Character BLEU of a tool's predicted response, as ``stabletoolbench/MirrorAPI-Bench`` scores it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence

from swirl_lightning.metrics.base import PredictionMetric
from swirl_lightning.types import Prediction, Transition

MAX_N = 4


class CharBleu(PredictionMetric):
    """Mean character BLEU-4 between predicted and true responses, in [0, 100].

    The response alone is scored: what the next state says after the lines that it has in common with the state. It is
    first flattened, see ``flatten``. A next state that is None scores 0.
    """

    def update(self, transitions: Sequence[Transition], predictions: Sequence[Prediction]) -> None:
        """Adds N transitions with what was said of them.

        Raises:
            ValueError: the lists differ in length.
        """
        pairs = list(zip(transitions, predictions, strict=True))
        self.add([0.0 if p.next_state is None else _score(t, p.next_state) for t, p in pairs])


def char_bleu(prediction: str, target: str) -> float:
    """Sentence BLEU-4 of two texts over their characters, in [0, 100].

    The same number as NLTK's ``sentence_bleu([list(target)], list(prediction))`` with ``SmoothingFunction().method3``,
    times 100: the k-th n-gram order without a match counts as 2^-k matches. 0 where no character matches.
    """
    log_precision, smoothed = 0.0, 0
    for n in range(1, MAX_N + 1):
        said, true = (Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in (prediction, target))
        matches: float = (said & true).total()
        if not matches:
            if n == 1:
                return 0.0
            smoothed += 1
            matches = 2.0**-smoothed
        log_precision += math.log(matches / max(1, said.total())) / MAX_N
    brevity = min(0.0, 1 - len(target) / len(prediction))
    return 100 * math.exp(log_precision + brevity)


def flatten(response: str) -> str:
    """``ERROR: ...`` and ``RESPONSE: ...`` on two lines, from JSON with these keys; any other text as it stands."""
    try:
        answer = json.loads(response)
    except (ValueError, RecursionError):
        return response
    if not isinstance(answer, dict) or not {"error", "response"} <= answer.keys():
        return response
    return f"ERROR: {answer['error']}\nRESPONSE: {answer['response']}"


def response_of(state: str, next_state: str) -> str:
    """What the next state says after the lines that both begin with."""
    lines, before = next_state.split("\n"), state.split("\n")
    shared = 0
    while shared < min(len(lines), len(before)) and lines[shared] == before[shared]:
        shared += 1
    return "\n".join(lines[shared:])


def _score(transition: Transition, next_state: str) -> float:
    said, true = (flatten(response_of(transition.state, text)) for text in (next_state, transition.next_state))
    return char_bleu(said, true)
