"""Choosing among several: the plan that was carried out, the instruction that is true.

Shape letters: N samples, C plans of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from swirl_lightning.metrics.base import MeanScore
from swirl_lightning.types import Transition


class Plans(NamedTuple):
    """An episode, and plans of which one is what was done in it.

    Args:
        episode: what was done, and what was seen before and after each action.
        candidates: C plans, each a list of actions.
        truth: the number of the right one, from 0.
    """

    episode: tuple[Transition, ...]
    candidates: tuple[tuple[str, ...], ...]
    truth: int


class Claim(NamedTuple):
    """A picture with an instruction that it fulfils already, and one that it does not.

    Args:
        state: the picture.
        true: asks for what is there.
        false: asks for something else.
        subset: the task that it is of.
    """

    state: str
    true: str
    false: str
    subset: str


class ChoiceAccuracy(MeanScore):
    """Share of samples in which the right plan scores highest, in [0, 1]; among k that score highest, it counts 1 / k.

    A plan without a score (NaN) is not chosen; where none has one, all are as good.
    """

    def update(self, scores: Sequence[Sequence[float]], truths: Sequence[int]) -> None:
        """Adds N samples.

        Args:
            scores: of the plans of each. N times C
            truths: the number of the right plan of each. N

        Raises:
            ValueError: the lists differ in length, or a right plan is not there.
        """
        self.add([_right(its, truth) for its, truth in zip(scores, truths, strict=True)])


def _right(scores: Sequence[float], truth: int) -> float:
    if not 0 <= truth < len(scores):
        raise ValueError(f"found the right plan {truth} of {len(scores)}")
    known = [-math.inf if math.isnan(score) else score for score in scores]
    best = max(known)
    return (known[truth] == best) / sum(score == best for score in known)
