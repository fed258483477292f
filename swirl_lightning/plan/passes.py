"""Work on groups of texts, and the bytes it takes, by part.

Shape letters, as numbers here: P prompts and N rows that pass together, L tokens of a prompt, T of a row, B lanes, S
nodes of a lane.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal

from swirl_lightning.engine.forest import LANE

Kind = Literal["generation", "scoring", "update"]
SUPPORT = 1024
"""Tokens that top-p or top-k leave, at the widest step of a batch. An assumption: it depends on the model."""


@dataclass(frozen=True)
class Parts:
    """Bytes at a peak.

    Args:
        base: the frozen model; for a model from scratch, all its copies.
        adapters: all LoRA weight sets.
        optimiser: moments and gradients of what learns.
        cache: keys and values.
        activations: what layers hold while they run and what autograd keeps.
        head: logits, supports and what turns them into log-probs and draws.
        device: context and fragmentation of a GPU; of main memory, what libraries take.
    """

    base: float = 0.0
    adapters: float = 0.0
    optimiser: float = 0.0
    cache: float = 0.0
    activations: float = 0.0
    head: float = 0.0
    device: float = 0.0

    @property
    def total(self) -> float:
        """The sum."""
        return sum(getattr(self, field.name) for field in fields(self))

    def __add__(self, other: Parts) -> Parts:
        return Parts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Pass:
    """A kind of work on groups of texts.

    Args:
        kind: what is done.
        name: for the reader.
        groups: prompts of a batch.
        group_size: rows of each.
        prompt: tokens of a prompt.
        row: tokens of a row.
        truncated: whether top-p or top-k leave a support.
        exact: whether a model of half precision computes in float32.
        learners: weight sets with moments and gradients meanwhile.
        support: how wide that support is.
        choices: ids that may be chosen, which have a row of the head; None: all.
        beside: other texts that pass together with these.
    """

    kind: Kind
    name: str
    groups: int
    group_size: int
    prompt: int
    row: int
    truncated: bool = False
    exact: bool = False
    learners: int = 1
    support: int = SUPPORT
    choices: int | None = None
    beside: Pass | None = None

    @property
    def rows(self) -> int:
        """Rows of a batch, without those beside them."""
        return self.groups * self.group_size

    @property
    def most(self) -> int:
        """Rows of a batch in all."""
        return self.rows + (self.beside.most if self.beside else 0)

    def alone(self) -> Pass:
        """The same work where each text passes by itself, with nothing shared."""
        return replace(self, groups=self.rows, group_size=1)

    def prompts(self, rows: int) -> int:
        """P, with ``rows`` rows at a time: whole groups, or one group in pieces."""
        return max(1, rows // self.group_size)

    def lanes(self, rows: int) -> tuple[int, int]:
        """B and S, where no two rows begin alike; see ``forest.plant``."""
        P, longest = self.prompts(rows), self.row - 1
        if not longest:
            return P, 0
        mine = -(-rows // P)  # rows of one prompt
        lanes = -(-mine * longest // max(longest, LANE, self.prompt // 4))
        together = max(-(-mine * longest // lanes) // longest, 1)  # rows stay whole
        return P * -(-mine // together), together * longest


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number from 1 to ``most`` that fits, 0 where none does; of what fits, less fits too."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
