"""How close predicted texts are to the true ones. A prediction that could not be decoded is None and scores 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from swirl_lightning.codecs.delta import changed_lines
from swirl_lightning.metrics.base import MeanScore


class ExactMatch(MeanScore):
    """Share of predictions equal to their target once white space at both ends is stripped, in [0, 1].

    The definition of Word2World's evaluation script; nothing else is normalised.
    """

    def update(self, predictions: list[str | None], targets: list[str]) -> None:
        """Adds N predictions with their N targets.

        Raises:
            ValueError: the lists differ in length.
        """
        pairs = _rows(predictions=predictions, targets=targets)
        self.add([is_exact(p, t) for p, t in pairs])


def is_exact(prediction: str | None, target: str) -> float:
    """1 where they are equal once white space at both ends is stripped, else 0."""
    return float(prediction is not None and prediction.strip() == target.strip())


class TokenF1(MeanScore):
    """Mean F1 between the bags of whitespace-separated tokens, in [0, 1].

    As in SQuAD (arXiv:1606.05250), but without its normalisation of case, articles and punctuation; 1 where both are
    empty. Word2World reports a word-level F1 too, but released no code for it; this is the natural reading.
    """

    def update(self, predictions: list[str | None], targets: list[str]) -> None:
        """Adds N predictions with their N targets.

        Raises:
            ValueError: the lists differ in length.
        """
        pairs = _rows(predictions=predictions, targets=targets)
        self.add([0.0 if p is None else bag_f1(Counter(p.split()), Counter(t.split())) for p, t in pairs])


class DeltaF1(MeanScore):
    """Mean F1 between the lines that the prediction changes in the state and those that truly change, in [0, 1].

    Our own definition. Copying the state, which scores high in ``TokenF1``, earns nothing here unless nothing changes,
    which is worth 1. Removed and added lines are kept apart; a line that only moves is no change. Whole lines count:
    a long line that is wrong in one word is wrong.
    """

    def update(self, states: list[str], predictions: list[str | None], targets: list[str]) -> None:
        """Adds N states with their N predicted and N true next states.

        Raises:
            ValueError: the lists differ in length.
        """
        rows = _rows(states=states, predictions=predictions, targets=targets)
        self.add([0.0 if p is None else bag_f1(_changes(x, p), _changes(x, y)) for x, p, y in rows])


def _changes(x: str, y: str) -> Counter[tuple[str, str]]:
    removed, added = changed_lines(x, y)
    signed = {("-", line): count for line, count in removed.items()}
    return Counter(signed | {("+", line): count for line, count in added.items()})


def bag_f1(predicted: Counter[Any], target: Counter[Any]) -> float:
    """F1 between two bags, in [0, 1]; 1 where both are empty."""
    size = predicted.total() + target.total()
    return 2 * (predicted & target).total() / size if size else 1.0


def _rows(**lists: list) -> Iterator[tuple]:
    if len({len(values) for values in lists.values()}) > 1:
        found = ", ".join(f"{len(values)} {name}" for name, values in lists.items())
        raise ValueError(f"expected lists of one length; got {found}")
    return zip(*lists.values(), strict=True)
