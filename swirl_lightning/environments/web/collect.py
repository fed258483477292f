"""Collects a transition data set from MiniWoB++ tasks in a real browser (arXiv 1802.08802)."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from swirl_lightning.environments.collection import describe_run, write_collection
from swirl_lightning.environments.played import Game, Played
from swirl_lightning.environments.splits import SPLITS, Fractions, Split, assign_splits
from swirl_lightning.environments.web.miniwob import MiniWob, View, first_line
from swirl_lightning.environments.web.operation import Operation
from swirl_lightning.environments.web.page import describe, prune
from swirl_lightning.environments.web.policy import RULES, chance
from swirl_lightning.types import InputError, Transition

logger = logging.getLogger(__name__)

Policy = Literal["rules", "random", "mixed"]
RESULTS = ("solved", "failed", "lost")
CHANCE: dict[Policy, float] = {"rules": 0.0, "random": 1.0, "mixed": 0.25}


def collect_web(
    out: Path,
    tasks: tuple[str, ...] = tuple(RULES),
    episodes: int = 40,
    steps: int = 8,
    policy: Policy = "mixed",
    budget: int = 400,
    seed: int = 0,
    fractions: Fractions = (0.2, 0.6, 0.06, 0.14),
) -> None:
    """Act in MiniWoB++ tasks and write each change of the page as a transition.

    A state is the task's utterance, its result once there is one, then the page, one element a line; what is hidden is
    there too and says so, so that what opens can be foretold. An action is an operation on an element, as
    ``operation`` writes it. Actions that change nothing are left out. The same arguments, package and browser
    give the same data. A browser that crashes costs its episode.

    Args:
        out: the folder to write; it is made where it does not exist.
        tasks: names of tasks. All that the package has can be walked at random, those of ``policy.RULES`` also
            by rule.
        episodes: episodes of each task, each with a task of its own drawn by the seed.
        steps: most actions in an episode; it ends with the task, too.
        policy: who acts: ``rules`` solve the task, ``random`` acts on any element, ``mixed`` takes a random action in
            a quarter of the steps.
        budget: most tokens of a page, as ``page.count_tokens`` counts; ``page.prune`` says what leaves.
        seed: what everything random follows from.
        fractions: share of the episodes in labelled, state_only, validation and test.

    Raises:
        InputError: a package or a program is missing, an argument is out of range, or no episode could be played.
    """
    arguments = dict(locals())  # before any other name is given: they are recorded with the data
    del arguments["out"]
    for name, value in {"episodes": episodes, "steps": steps, "budget": budget, "tasks": len(tasks)}.items():
        if value < 1:
            raise InputError(f"swirl collect web: {name}: found {value}, expected at least 1")
    if policy not in CHANCE:
        raise InputError(f"swirl collect web: policy: found {policy!r}, expected one of {', '.join(CHANCE)}")
    names = [(task, f"{task}-{n:04d}") for task in dict.fromkeys(tasks) for n in range(episodes)]
    split_of = assign_splits([name for _, name in names], fractions, seed, "episode")
    parts: dict[Split, list[Transition]] = {split: [] for split in SPLITS}
    results = dict.fromkeys(RESULTS, 0)
    browser = MiniWob()
    _check_tasks(tasks, browser.tasks(), policy)
    with browser, Played(out, arguments, len(names), "episodes") as played:
        for task, name in names:
            made = played.game(name, partial(_play, browser, task, name, steps, CHANCE[policy], budget, seed))
            parts[split_of[name]] += made.transitions
            for result in RESULTS:
                results[result] += made.notes["result"] == result
        if results["lost"] == len(names):
            raise InputError(f"swirl collect web: all {len(names)} episodes were lost; the log above says why")
        record = describe_run("web", out, arguments, ("miniwob", "selenium"))
        record["versions"]["chromium"] = browser.version
        write_collection(out, parts, record | {"episodes": {"all": len(names), **results}})


def _play(browser: MiniWob, task: str, name: str, steps: int, share: float, budget: int, seed: int) -> Game:
    """The episode and how it ended; one that the browser did not survive is lost."""
    from selenium.common.exceptions import WebDriverException

    try:
        transitions = list(play(browser, task, name, steps, share, budget, seed))
    except WebDriverException as error:
        logger.warning("%s: left out, the browser is started anew: %s", name, first_line(error))
        browser.restart()
        return Game([], {"result": "lost"})
    last = f"{transitions[-1].next_state}\n" if transitions else ""
    return Game(transitions, {"result": next((r for r in RESULTS if f"\nResult: {r}\n" in last), None)})


def play(
    browser: MiniWob, task: str, episode: str, steps: int, share: float, budget: int, seed: int
) -> Iterator[Transition]:
    """The transitions of one episode; they depend on the arguments alone.

    Those are as in ``collect_web``. The episode's name and the seed decide the task and all draws; ``share`` of the
    actions, in [0, 1], are left to chance.
    """
    rng = random.Random(f"{seed}/{episode}")
    where = f"swirl collect web: {episode}"
    view = _prune(browser.open(task, f"{seed}/{episode}"), budget, where)
    step = 0
    for _ in range(steps):
        by_chance = rng.random() < share
        move = chance(view.utterance, view.page, rng) if by_chance else RULES[task](view.utterance, view.page)
        if move is None:
            return
        action = str(Operation(move.operation, describe(view.page, move.node), move.argument))
        before, view = view, _prune(browser.act(*move), budget, where)
        if before.text != view.text:
            yield Transition(episode, step, before.text, view.text, action)
            step += 1
        if view.result:
            return


def _prune(view: View, budget: int, where: str) -> View:
    return replace(view, page=prune(view.page, budget, where))


def _check_tasks(tasks: tuple[str, ...], known: list[str], policy: Policy) -> None:
    for task in tasks:
        if task not in known:
            raise InputError(f"swirl collect web: tasks: found {task!r}, expected names out of {', '.join(known)}")
        if policy != "random" and task not in RULES:
            raise InputError(
                f"swirl collect web: tasks: found no rule for {task!r}, expected names out of {', '.join(RULES)}; "
                "take policy random for others"
            )
