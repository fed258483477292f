"""Collects trajectories of ScienceWorld (arXiv 2203.07540) with its engine: an expert's, a random walker's, or both."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from swirl_lightning.environments.collection import describe_run, write_collection
from swirl_lightning.environments.physics.scienceworld import Engine, World
from swirl_lightning.environments.played import Game, Played
from swirl_lightning.environments.splits import SPLITS, Split, take_turns
from swirl_lightning.types import InputError, Transition

Policy = Literal["gold", "random"]

# What the random walker never does: ``focus`` on a wrong thing ends the task, ``reset`` undoes it, ``task`` recites it.
LEFT_OUT = ("focus", "reset", "task")


def collect_physics(
    out: Path,
    tasks: list[str] | None = None,
    variations: tuple[int, int, int] = (6, 1, 2),
    steps: int = 100,
    policy: Literal["gold", "random", "both"] = "both",
    simplification: str = "easy",
    seed: int = 0,
) -> None:
    """Play ScienceWorld's tasks and write the transitions as a data set.

    The task's own train, dev and test variations become the splits: of train, half of the variations keep their
    actions (labelled) and half lose them (state_only). Episodes are whole: a step that changes nothing is a step. The
    engine does not repeat itself from one reset to the next, whatever the seed: what is written is the data, and its
    hash is kept.

    Args:
        out: the folder to write; it is made where it does not exist.
        tasks: names of the tasks; null means all 30.
        variations: how many variations of each task are drawn from its train, dev and test variations; all of them
            where it has fewer.
        steps: an episode ends after so many steps, or with its task.
        policy: ``gold`` plays the engine's own solution; ``random`` draws a kind of action (its first word), then a
            valid action of that kind; ``both`` plays an episode of each.
        simplification: ScienceWorld's simplifications, parted by commas; ``easy`` is all of them, an empty text none.
        seed: of the drawn variations, the halves and the random policy.

    Raises:
        InputError: Java or the package scienceworld is missing, or an argument is out of range.
    """
    arguments = dict(locals())  # before any other name is given: they are recorded with the data
    del arguments["out"]
    for name, value in {"steps": steps, **dict(zip(("train", "dev", "test"), variations, strict=True))}.items():
        if value < 1:
            raise InputError(f"swirl collect physics: {name}: found {value}, expected at least 1")
    policies: tuple[Policy, ...] = get_args(Policy) if policy == "both" else (policy,)
    parts: dict[Split, list[Transition]] = {split: [] for split in SPLITS}
    scores: dict[Split, dict[str, int]] = {split: {} for split in SPLITS}
    engine = Engine()
    try:
        _check_arguments(engine, tasks, simplification)
        drawn = _draw_worlds(engine, tasks, variations, simplification, seed)
        games = [(split, world, its) for split, worlds in drawn.items() for world in worlds for its in policies]
        with Played(out, arguments, len(games), "episodes") as played:
            for split, world, its in games:
                made = played.game(_name(world, its), partial(_play, engine, world, its, steps, simplification, seed))
                parts[split] += made.transitions
                scores[split] |= {t.episode: made.notes["score"] for t in made.transitions}
            record = describe_run("physics", out, arguments, ["scienceworld"]) | {"scores": scores}
            write_collection(out, parts, record)
    finally:
        engine.close()


def _name(world: World, policy: Policy) -> str:
    return f"{world[0]}-{world[1]}-{policy}"


def _play(engine: Engine, world: World, policy: Policy, steps: int, simplification: str, seed: int) -> Game:
    transitions, score = play(engine, world, policy, steps, simplification, seed)
    return Game(transitions, {"score": score})


def play(
    engine: Engine, world: World, policy: Policy, steps: int, simplification: str, seed: int
) -> tuple[list[Transition], int]:
    """One episode from the beginning, and its final score of 100; below 0 the task has failed."""
    episode = _name(world, policy)
    rng = random.Random(f"{seed}/{episode}")
    state, transitions = engine.load(world, simplification, policy == "gold"), list[Transition]()
    # of this load: the next one may give another solution
    plan = engine.wrapper.get_gold_action_sequence()[:steps] if policy == "gold" else [None] * steps
    for step, planned in enumerate(plan):
        action = planned or draw_action(engine.valid(), rng)
        before, state = state, engine.step(action)
        transitions.append(Transition(episode, step, before, state, action))
        if engine.is_over():
            break
    return transitions, engine.score()


def draw_action(valid: list[str], rng: random.Random) -> str:
    """A kind of action first, then one of that kind: else most would be ways to move or pour."""
    kinds: dict[str, list[str]] = {}
    for action in sorted(valid):
        kinds.setdefault(action.split()[0], []).append(action)
    names = [name for name in kinds if name not in LEFT_OUT]
    return rng.choice(kinds[rng.choice(names)])  # there always are some: one can look and wait everywhere


def _check_arguments(engine: Engine, tasks: list[str] | None, simplification: str) -> None:
    known = {
        "tasks": engine.wrapper.get_task_names(),
        "simplification": ["easy", *engine.wrapper.get_possible_simplifications()],
    }
    if tasks == []:
        raise InputError("swirl collect physics: tasks: found none, expected names of tasks, or null for all of them")
    given = {"tasks": tasks or [], "simplification": [name for name in simplification.split(",") if name]}
    for argument, names in given.items():
        if unknown := [name for name in names if name not in known[argument]]:
            raise InputError(
                f"swirl collect physics: {argument}: found {unknown[0]!r}, expected some of "
                f"{', '.join(sorted(known[argument]))}"
            )


def _draw_worlds(
    engine: Engine, tasks: list[str] | None, variations: tuple[int, int, int], simplification: str, seed: int
) -> dict[Split, list[World]]:
    """The variations of each split. No variation is in two; both halves of train cover the tasks evenly."""
    drawn: dict[str, list[World]] = {"train": [], "dev": [], "test": []}
    for task in sorted(set(tasks or engine.wrapper.get_task_names())):
        try:
            engine.load((task, 0), simplification)
        except ValueError as error:
            raise InputError(f"swirl collect physics: {error}; take another simplification, or other tasks") from error
        for name, count in zip(drawn, variations, strict=True):
            official = sorted(getattr(engine.wrapper, f"get_variations_{name}")())
            rng = random.Random(f"{seed}/{task}/{name}")
            drawn[name] += [(task, n) for n in sorted(rng.sample(official, min(count, len(official))))]
    train = take_turns(drawn["train"], lambda world: world[0], f"{seed}/halves")
    half = len(train) // 2
    if not half:
        raise InputError(
            "swirl collect physics: variations: found 1 train variation in all, expected at least 2: one keeps its "
            "actions and one loses them; raise the first of variations, or take more tasks"
        )
    return {
        "labelled": sorted(train[:half]),
        "state_only": sorted(train[half:]),
        "validation": drawn["dev"],
        "test": drawn["test"],
    }
