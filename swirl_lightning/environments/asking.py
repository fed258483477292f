"""Which steps of a log a person should label."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from swirl_lightning.environments.splits import take_turns
from swirl_lightning.environments.table import values
from swirl_lightning.types import InputError, Transition

FEWEST_LABELS = 20
"""Rows with an action: fewer can neither train two models nor tell whether they gained."""
FEWEST_EPISODES = 3
"""Those with labels: some train, others are held out for validation and test."""
TURNS = 2
"""Steps that are asked of every kind of change, at least on average."""
MOST = 100_000
"""Steps that are looked at."""
_WORD = re.compile(r"\w+|[^\w\s]")


def choose_steps(transitions: Sequence[Transition], count: int, seed: int = 0) -> list[Transition]:
    """Steps for a person to label, in the order of the log, spread over kinds of change.

    A kind of action that has no label is hardly ever named by the IDM, so kinds take turns: first a step of each, the
    most frequent kind first, then a second one, and so on, until there are enough. Labels that the log has count as
    turns of their kinds. Within a kind the episodes take turns, in an order drawn with the seed, for whole episodes of
    the labels will be held out. Steps in which nothing changes are not asked about, since nobody could tell what was
    done, nor is the same change twice. Of a log of more than ``MOST`` steps so many are drawn, and the others not
    looked at.

    Args:
        transitions: the log; some may have an action.
        count: how many steps; there are fewer where the log has fewer.
        seed: of the order within a kind.
    """
    episodes = values(transitions, "episode")
    order = take_turns(range(len(transitions)), episodes.__getitem__, f"{seed}/asking")[:MOST]
    drawn = [transitions[n] for n in order]
    kinds = _kinds(drawn, count // TURNS)
    sizes = Counter(kinds)
    turns = Counter(kind for t, kind in zip(drawn, kinds, strict=True) if t.action is not None)
    ranked: dict[tuple[str, str], tuple[int, int, int]] = {}
    for n, t, kind in zip(order, drawn, kinds, strict=True):
        if t.action is None and t.changes and (t.state, t.next_state) not in ranked:
            ranked[t.state, t.next_state] = (turns[kind], -sizes[kind], n)
            turns[kind] += 1
    first = sorted(ranked.values(), key=lambda rank: rank[:2])[:count]
    return [transitions[n] for n in sorted(n for *_, n in first)]


def check_episodes(path: Path, transitions: Sequence[Transition]) -> None:
    """Refuse to ask for labels that no run could use.

    Raises:
        InputError: the log has too few episodes to hold any out.
    """
    if (episodes := len(set(values(transitions, "episode")))) < FEWEST_EPISODES:
        raise InputError(
            f"{path}: found {episodes} episodes, expected at least {FEWEST_EPISODES}: some train, whole episodes are "
            "held out to measure with; give what belongs together, such as the steps of one session, a name of its own "
            "in the field episode"
        )


def _kinds(transitions: Sequence[Transition], most: int) -> list[int]:
    """The kind of each step, told without a model by the words that go and that come between state and next state.

    Whether any go or come divides the steps first, then whether the most frequent word is among them, then the next
    one, as long as there are no more kinds than ``most``. Rarer words are taken for names of things, so that
    ``take cup`` and ``take pen`` are of one kind.
    """
    words = [_changed_words(t) for t in transitions]
    kinds = [2 * any(word[0] == "-" for word in its) + any(word[0] == "+" for word in its) for its in words]
    frequency = Counter(word for its in words for word in its)
    for word in sorted(frequency, key=lambda word: (-frequency[word], word)):
        finer = [2 * kind + (word in its) for kind, its in zip(kinds, words, strict=True)]
        if len(set(finer)) > most:
            break
        kinds = finer
    return kinds


def _changed_words(t: Transition) -> frozenset[str]:
    """The words that a step takes away, with a minus, and those that it adds, with a plus."""
    before, after = (Counter(_WORD.findall(text)) for text in (t.state, t.next_state))
    return frozenset([*(f"-{word}" for word in before - after), *(f"+{word}" for word in after - before)])
