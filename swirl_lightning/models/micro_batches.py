"""Which rows of a batch pass through the model together, and what happens when they do not fit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch

from swirl_lightning.types import Ids

T = TypeVar("T")
log = logging.getLogger(__name__)


class MicroBatchSizes(NamedTuple):
    """How many rows pass together, by what is done with them; None means all."""

    generation: int | None = None
    scoring: int | None = None
    update: int | None = None


ALL_AT_ONCE = MicroBatchSizes()


class MicroBatch(NamedTuple):
    """Whole groups, whose rows pass together; or one large group, whose rows follow each other in pieces.

    Args:
        prompts: the prompts.
        pieces: rows that pass together.
    """

    prompts: tuple[int, ...]
    pieces: tuple[tuple[int, ...], ...]

    def halves(self, prompt_of_N: Sequence[int]) -> list[MicroBatch]:
        """Half of the groups at a time, or half of a single group's rows; empty for a single row."""
        middle = len(self.prompts) // 2
        if middle:
            return [_whole(prompts, prompt_of_N) for prompts in (self.prompts[:middle], self.prompts[middle:])]
        if max(map(len, self.pieces)) < 2:
            return []
        parts = [part for piece in self.pieces for part in (piece[: len(piece) // 2], piece[len(piece) // 2 :]) if part]
        return [MicroBatch(self.prompts, tuple(parts))]


def micro_batches(prompts: Sequence[Ids], prompt_of_N: Sequence[int], size: int | None) -> list[MicroBatch]:
    """Groups of prompts of like length, at most ``size`` rows at a time."""
    order = sorted(set(prompt_of_N), key=lambda p: len(prompts[p]))
    if size is None:
        return [_whole(tuple(sorted(order)), prompt_of_N)]
    rows: dict[int, list[int]] = {p: [] for p in order}
    for n, p in enumerate(prompt_of_N):
        rows[p].append(n)
    batches: list[list[int]] = []
    room = 0
    for p in order:
        if len(rows[p]) > room:
            batches.append([])
            room = size
        batches[-1].append(p)
        room -= len(rows[p])
    result = []
    for batch in batches:
        whole = _whole(tuple(batch), prompt_of_N)
        (piece,) = whole.pieces
        result.append(whole._replace(pieces=tuple(piece[i : i + size] for i in range(0, len(piece), size))))
    return result


def _whole(prompts: tuple[int, ...], prompt_of_N: Sequence[int]) -> MicroBatch:
    chosen = set(prompts)
    return MicroBatch(prompts, (tuple(n for n, p in enumerate(prompt_of_N) if p in chosen),))


def with_halving(
    work: Callable[[MicroBatch], T], batch: MicroBatch, prompt_of_N: Sequence[int], undo: Callable[[], None]
) -> list[T]:
    """Do the work; after an out-of-memory error undo it and do it once more in halves, to the same numbers.

    Raises:
        torch.OutOfMemoryError: a half does not fit either.
    """
    try:
        return [work(batch)]
    except torch.OutOfMemoryError:
        halves = batch.halves(prompt_of_N)
        if not halves:
            raise
    # outside of the handler, whose traceback holds on to the tensors of the failed attempt
    undo()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    rows = max(map(len, batch.pieces))
    log.warning("out of memory with %d rows at a time: this micro-batch is redone in halves", rows)
    return [work(half) for half in halves]
