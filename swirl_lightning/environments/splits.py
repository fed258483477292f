"""How transitions are divided into splits and chosen from one, always by a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeVar

from swirl_lightning.types import InputError

Split = Literal["labelled", "state_only", "validation", "test"]
SPLITS: tuple[Split, ...] = ("labelled", "state_only", "validation", "test")
Fractions = tuple[float, float, float, float]

T = TypeVar("T")


def kind(action: str) -> str:
    """The kind of an action: its first word."""
    return action.split(maxsplit=1)[0]


def draw_kind(actions: Iterable[str], weights: Mapping[str, int], rng: random.Random, usual: int = 4) -> list[str]:
    """All actions of one kind, sorted, which is drawn first: so a kind with many actions comes no more often.

    Args:
        actions: those that can be done.
        weights: how often a kind is drawn.
        rng: draws.
        usual: how often a kind is that has no weight.
    """
    actions = sorted(actions)
    kinds = sorted(set(map(kind, actions)))
    (chosen,) = rng.choices(kinds, [weights.get(its, usual) for its in kinds])
    return [action for action in actions if kind(action) == chosen]


def assign_splits(
    keys: Iterable[str], fractions: Sequence[float], seed: int, unit: str, splits: tuple[Split, ...] = SPLITS
) -> dict[str, Split]:
    """Give every key a split: a seeded shuffle, cut in shares; no split stays empty.

    Args:
        keys: what is divided, each key whole: episodes, or games.
        fractions: share of the keys in each split.
        seed: of the shuffle.
        unit: what a key is, for the messages.
        splits: those that the keys are divided into.

    Returns:
        The split of each key, keys in sorted order.

    Raises:
        InputError: a fraction is not positive, they do not sum to 1, or there are fewer keys than splits.
    """
    order = sorted(set(keys))
    if len(fractions) != len(splits) or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(
            f"fractions: found {list(fractions)}, expected {len(splits)} positive numbers that sum to 1 "
            f"({', '.join(splits)}), for example [0.4, 0.4, 0.1, 0.1]"
        )
    if len(order) < len(splits):
        raise InputError(
            f"found {len(order)} {unit}(s), expected at least {len(splits)}: each of the splits {', '.join(splits)} "
            f"takes a whole {unit}; add {unit}s"
        )
    random.Random(f"{seed}/splits").shuffle(order)
    counts = [1] * len(splits)
    for _ in range(len(order) - len(splits)):  # the next key goes to the split furthest below its share
        counts[max(range(len(splits)), key=lambda i: fractions[i] * len(order) - counts[i])] += 1
    names = [split for split, count in zip(splits, counts, strict=True) for _ in range(count)]
    return dict(sorted(zip(order, names, strict=True)))


def divide(items: Iterable[tuple[str, T]], fractions: Fractions, seed: int, unit: str) -> dict[Split, list[T]]:
    """Items that come with their keys, each in the split that ``assign_splits`` gives its key, in the order given."""
    keyed = list(items)
    split_of = assign_splits((key for key, _ in keyed), fractions, seed, unit)
    return {split: [item for key, item in keyed if split_of[key] == split] for split in SPLITS}


def take_turns(items: Sequence[T], key: Callable[[T], str], seed: str) -> list[T]:
    """All items in a seeded random order in which the keys take turns, so that any first n cover them evenly.

    The first n are a subset of the first n + 1: learning curves over n add items and change none.
    """
    rng = random.Random(seed)
    groups: dict[str, list[T]] = {}
    for item in rng.sample(items, len(items)):
        groups.setdefault(key(item), []).append(item)
    queues = [groups[name] for name in sorted(groups)]
    rng.shuffle(queues)
    turns = range(max(map(len, queues), default=0))
    return [queue[turn] for turn in turns for queue in queues if turn < len(queue)]
