"""ROUGE-L of predicted next states, by the definition of Google's ``rouge-score``."""

from __future__ import annotations

import re

from swirl_lightning.metrics.base import PredictionMetric
from swirl_lightning.types import Prediction, Transition

_BETWEEN_TOKENS = re.compile(r"[^a-z0-9]+")


class RougeL(PredictionMetric):
    """Mean ROUGE-L F1 between predicted and true next states, in [0, 1] (Lin 2004, as in Google's ``rouge-score``).

    Tokens are the runs of a-z and 0-9 in the lower-cased text, without stemming. The score is twice the length of the
    longest common subsequence over the number of tokens in both texts; 0 where either has no token, as there. A next
    state that is None scores 0.

    The package itself is only used in the tests, to compare with: its table takes a second and more for two texts of
    2,500 tokens, and a copied web page is such a text.
    """

    def score(self, transition: Transition, prediction: Prediction) -> float:
        """ROUGE-L F1 of the predicted next state."""
        return 0.0 if prediction.next_state is None else rouge_l(prediction.next_state, transition.next_state)


def rouge_l(prediction: str, target: str) -> float:
    """ROUGE-L F1 of two texts, in [0, 1]."""
    said, true = (_BETWEEN_TOKENS.sub(" ", text.lower()).split() for text in (prediction, target))
    return 2 * _common_length(said, true) / (len(said) + len(true)) if said and true else 0.0


def _common_length(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence, all of a at once as bits of one number (Hyyrö 2004).

    Bit i of ``free`` is 0 where the longest common subsequence with the first i + 1 tokens of a is longer than that
    with the first i.
    """
    places: dict[str, int] = {}
    for i, token in enumerate(a):
        places[token] = places.get(token, 0) | 1 << i
    every = free = (1 << len(a)) - 1
    for token in b:
        matched = free & places.get(token, 0)
        free = (free + matched | free - matched) & every
    return len(a) - free.bit_count()
