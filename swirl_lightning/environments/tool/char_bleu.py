"""Character BLEU of a tool's predicted response, as ``stabletoolbench/MirrorAPI-Bench`` scores it."""

from __future__ import annotations

import json
import math
from collections import Counter

MAX_N = 4


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
