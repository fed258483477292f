"""Which steps a person is asked to label."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import fmean

import file_shell
import pytest

from swirl_lightning.environments import asking
from swirl_lightning.environments.asking import check_episodes, choose_steps
from swirl_lightning.environments.rows import read_rows
from swirl_lightning.types import InputError, Transition

QUICKSTART = Path(__file__).parents[2] / "swirl_lightning/environments/textworld/quickstart"
EVERY = file_shell.rows(labels=600)
NAMED = [Transition(r["episode"], r["step"], r["state"], r["next_state"], r["action"]) for r in EVERY]
GAMES = read_rows(QUICKSTART / "labelled.jsonl.gz", actions=True)
BARE = [replace(t, action=None) for t in NAMED]
DONE = {(t.episode, t.step): t.action.split()[0] for t in NAMED}


def kinds(steps):
    return Counter(DONE[t.episode, t.step] for t in steps)


def light(n, name, episode="e"):
    return Transition(episode, n, f"lamp of {name} off", f"lamp of {name} on")


def test_every_kind_of_command_is_asked_about():
    steps = choose_steps(BARE, 20)
    assert len(steps) == 20
    assert set(kinds(steps)) == {"mkdir", "rmdir", "touch", "rm", "mv"}
    assert steps == sorted(steps, key=BARE.index)
    assert len({t.episode for t in steps}) > 10


def test_more_kinds_of_action_are_asked_about_than_by_chance():
    """The figures of docs/few_labels.md: the quickstart's nine kinds of action in 20 steps of 4895."""
    done = {(t.episode, t.step): t.action.split()[0] for t in GAMES}
    rows = [replace(t, action=None) for t in GAMES]
    chosen, random = (
        fmean(len({done[t.episode, t.step] for t in draw(seed)}) for seed in range(5))
        for draw in (lambda seed: choose_steps(rows, 20, seed), lambda seed: Random(seed).sample(rows, 20))
    )
    assert chosen == pytest.approx(8.4, abs=0.3)
    assert random == pytest.approx(6.4, abs=0.3)


def test_a_rare_kind_comes_as_early_as_a_frequent_one():
    """Of 200 changes that give light 20 take it; chance would ask about one of these in the first ten."""
    rows = [light(n, f"room{n}") for n in range(200)]
    rows[::10] = [replace(t, state=t.next_state, next_state=t.state) for t in rows[::10]]
    for seed in range(5):
        steps = choose_steps(rows, 10, seed)
        assert sum("on" in t.state.split() for t in steps) == 5


def test_names_make_no_kind():
    """Two in three changes give light; that each lamp has a name of its own does not make them kinds of their own."""
    rows = [
        light(n, f"room{n}") if n % 3 else Transition("e", n, "door shut", "door open to room" * (1 + n))
        for n in range(60)
    ]
    steps = choose_steps(rows, 12)
    assert sum(t.state.startswith("lamp") for t in steps) == 6


def test_labels_of_the_log_are_turns_of_their_kind():
    rows = [light(n, f"room{n}") for n in range(20)] + [
        Transition("d", n, "shut" + " it" * n, "open" + " it" * n) for n in range(20)
    ]
    rows[:4] = [replace(t, action="switch on") for t in rows[:4]]
    steps = choose_steps(rows, 6)
    assert Counter(t.episode for t in steps) == {"d": 5, "e": 1}
    assert all(t.action is None for t in steps)


def test_nothing_is_asked_twice_or_about_nothing():
    rows = [light(n, "hall", f"e{n}") for n in range(9)] + [Transition("e", 9, "same", "same")]
    assert len(choose_steps(rows, 9)) == 1


def test_the_choice_is_that_of_the_seed():
    assert choose_steps(BARE, 30, 1) == choose_steps(BARE, 30, 1) != choose_steps(BARE, 30, 2)


def test_of_a_large_log_some_steps_are_looked_at(monkeypatch):
    monkeypatch.setattr(asking, "MOST", 40)
    assert 30 <= len(choose_steps(BARE, 60)) <= 40
    assert len({t.episode for t in choose_steps(BARE, 60)}) >= 25


def test_a_log_of_which_nothing_could_be_held_out_is_refused(tmp_path):
    check_episodes(tmp_path, [light(0, "hall", f"e{n}") for n in range(3)])
    with pytest.raises(InputError, match="found 2 episodes, expected at least 3"):
        check_episodes(tmp_path, [light(0, "hall", f"e{n}") for n in range(2)])
