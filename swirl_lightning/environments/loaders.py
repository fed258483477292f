"""What feeds the loops: batches that are a pure function of seed, update and rank, and plain slices for evaluation.

Both are sized iterables and no ``DataLoader``: transitions are at hand, and Lightning then injects no sampler.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from swirl_lightning.environments.splits import Split
from swirl_lightning.environments.table import pick, values
from swirl_lightning.types import Batch, Transition

Seed = int | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Draw:
    """What the batches of a stage are drawn from.

    Args:
        stage: its name, for messages.
        index: its number in the schedule, which seeds the order of the batches.
        pools: the splits that its transitions come from.
        actions: whether they keep their actions.
        anchored: whether labelled transitions come with each batch.
        updates: number of batches; None means ``passes``.
        batch_size: transitions of a batch; None takes the data module's.
        passes: over the transitions.
    """

    stage: str
    index: int
    pools: tuple[Split, ...]
    actions: bool = False
    anchored: bool = False
    updates: int | None = None
    batch_size: int | None = None
    passes: float = 1


class PhaseLoader:
    """The batches of one phase, from an endless stream of seeded permutations. It can stop and go on anywhere.

    Every batch is full: one may straddle two permutations. Over the ranks an update takes the next
    ``batch_size * world_size`` items, whatever the number of ranks.

    Args:
        pairs: the transitions of the phase, at least one.
        labelled: where the anchor is drawn from.
        batch_size: pairs in a batch of one rank.
        updates: number of batches; None means ``passes`` over the pairs.
        passes: see ``updates``.
        seed: of the permutations.
        weights: how many of each environment come in a round, in a seeded order; none: all transitions are one pool.
        anchor_size: labelled transitions that come with each batch of one rank.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(
        self,
        pairs: Sequence[Transition],
        labelled: Sequence[Transition],
        *,
        batch_size: int,
        updates: int | None,
        passes: float = 1,
        seed: Seed,
        weights: Mapping[str, int] | None = None,
        anchor_size: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._pairs = _stream(pairs, (seed, "pairs"), weights)
        self._anchor = _stream(labelled, (seed, "anchor"), weights) if anchor_size else None
        self.batch_size = batch_size
        self.anchor_size = anchor_size
        self.updates = math.ceil(passes * len(pairs) / (batch_size * world_size)) if updates is None else updates
        self.rank = rank
        self.world_size = world_size
        self.position = 0

    def __len__(self) -> int:
        return self.updates

    def __iter__(self) -> Iterator[Batch]:
        """Goes on from the position, and keeps it."""
        while self.position < self.updates:
            chunk = self.position * self.world_size + self.rank
            self.position += 1  # before the yield: a checkpoint is taken while the consumer holds the batch
            pairs = _run(self._pairs, chunk, self.batch_size)
            anchor = _run(self._anchor, chunk, self.anchor_size) if self._anchor else []
            yield Batch(pairs, anchor)

    def state_dict(self) -> dict[str, int]:
        """The number of batches already given out."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches already given out."""
        self.position = state["position"]


class EvalLoader:
    """This rank's share of the transitions, in order, in lists. Nothing is padded or repeated.

    A rank without a share, while others have one, gets an empty list, so that it takes part in what they do together.

    Args:
        transitions: of all ranks.
        batch_size: longest list.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(self, transitions: Sequence[Transition], batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.transitions = transitions[rank::world_size]
        self._lists = max(-(-len(self.transitions) // batch_size), 1 if transitions else 0)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return self._lists

    def __iter__(self) -> Iterator[list[Transition]]:
        for start in range(0, self._lists * self.batch_size, self.batch_size):
            yield list(self.transitions[start : start + self.batch_size])


class _Stream:
    """Seeded permutations of a pool, one after another without end."""

    def __init__(self, pool: Sequence[Transition], seed: tuple[object, ...]) -> None:
        self.pool = pool
        self.permutations = _Permutations(len(pool), seed)

    def __getitem__(self, index: int) -> Transition:
        epoch, offset = divmod(index, len(self.pool))
        return self.pool[int(self.permutations[epoch][offset])]


class _Mixture:
    """Streams that take turns: in every round each comes as often as its weight says, in a seeded order."""

    def __init__(self, streams: Sequence[_Stream], weights: Sequence[int], seed: tuple[object, ...]) -> None:
        self.streams, self.weights = streams, weights
        self.turns = [i for i, weight in enumerate(weights) for _ in range(weight)]
        self.permutations = _Permutations(len(self.turns), (*seed, "turns"))

    def __getitem__(self, index: int) -> Transition:
        turn, offset = divmod(index, len(self.turns))
        order = self.permutations[turn]
        which = self.turns[order[offset]]
        earlier = sum(self.turns[place] == which for place in order[:offset])
        return self.streams[which][turn * self.weights[which] + earlier]


def _run(stream: _Stream | _Mixture, chunk: int, size: int) -> list[Transition]:
    return [stream[chunk * size + i] for i in range(size)]


def _stream(
    pool: Sequence[Transition], seed: tuple[object, ...], weights: Mapping[str, int] | None
) -> _Stream | _Mixture:
    if not weights:
        return _Stream(pool, seed)
    environments = values(pool, "environment")
    pools = {name: pick(pool, [i for i, its in enumerate(environments) if its == name]) for name in weights}
    return _Mixture([_Stream(its, (*seed, name)) for name, its in pools.items()], list(weights.values()), seed)


class _Permutations:
    """Seeded permutations by their number. The last one is kept, for a stream asks for the same until its end."""

    def __init__(self, length: int, seed: tuple[object, ...]) -> None:
        self.length, self.seed = length, seed
        self._last: tuple[int, torch.Tensor] | None = None

    def __getitem__(self, number: int) -> torch.Tensor:
        if self._last is None or self._last[0] != number:
            digest = hashlib.sha256(repr((*self.seed, number)).encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
            self._last = (number, torch.randperm(self.length, generator=generator))
        return self._last[1]
