"""Which rows of a batch pass through the model together, and what happens when they do not fit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch

from swirl_lightning.engine.forest import lanes_of
from swirl_lightning.types import Ids

T = TypeVar("T")
CALL = 128
"""Tokens that take about as long as one more call of the model: on a GPU, what it computes while it reads weights."""

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


def micro_batches(
    prompts: Sequence[Ids], prompt_of_N: Sequence[int], size: int | None, lengths_N: Sequence[int], calls: int = 1
) -> list[MicroBatch]:
    """Groups of like length, cut so that padding and calls together cost least.

    Args:
        prompts: the prompts.
        prompt_of_N: prompt of each row.
        size: how many rows pass together at most; None means all.
        lengths_N: tokens that each row has behind its prompt.
        calls: of the model, for a micro-batch.
    """
    rows: dict[int, list[int]] = {}
    for n, p in enumerate(prompt_of_N):
        rows.setdefault(p, []).append(n)
    lanes = {p: lanes_of(len(prompts[p]), [lengths_N[n] for n in group]) for p, group in rows.items()}
    order = sorted(rows, key=lambda p: (len(prompts[p]) + lanes[p][1], p))
    best: list[tuple[int, int]] = [(0, 0)]  # cost of the first groups in tokens, and where their last batch begins
    for end in range(1, len(order) + 1):
        together = prompt = width = count = 0
        choices = []
        for start in reversed(range(end)):
            p = order[start]
            together += len(rows[p])
            if size is not None and together > size and end - start > 1:
                break
            prompt, width, count = max(prompt, len(prompts[p])), max(width, lanes[p][1]), count + lanes[p][0]
            choices.append((best[start][0] + (end - start) * prompt + count * width + calls * CALL, start))
        best.append(min(choices))
    batches, end = [], len(order)
    while end:
        start = best[end][1]
        batch = _whole(tuple(sorted(order[start:end])), prompt_of_N)
        (piece,) = batch.pieces
        step = size or len(piece)
        batches.append(batch._replace(pieces=tuple(piece[i : i + step] for i in range(0, len(piece), step))))
        end = start
    return batches[::-1]


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
