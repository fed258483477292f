"""Collects trajectories of ScienceWorld (arXiv 2203.07540) with its engine: an expert's, a random walker's, or both."""

from __future__ import annotations

import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from swirl_lightning.environments.collection import describe_run, write_collection
from swirl_lightning.environments.splits import SPLITS, Split, take_turns
from swirl_lightning.types import InputError, Transition

Policy = Literal["gold", "random"]
World = tuple[str, int]  # a task and its variation

# What the random walker never does: ``focus`` on a wrong thing ends the task, ``reset`` undoes it, ``task`` recites it.
LEFT_OUT = ("focus", "reset", "task")

_ROOM = re.compile(r"This .*?is called the ([^.]+)\.")


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
    for name, value in {"steps": steps, **dict(zip(("train", "dev", "test"), variations, strict=True))}.items():
        if value < 1:
            raise InputError(f"swirl collect physics: {name}: found {value}, expected at least 1")
    arguments = {
        "tasks": tasks, "variations": list(variations), "steps": steps, "policy": policy,
        "simplification": simplification, "seed": seed,
    }  # fmt: skip
    policies: tuple[Policy, ...] = get_args(Policy) if policy == "both" else (policy,)
    parts: dict[Split, list[Transition]] = {split: [] for split in SPLITS}
    scores: dict[Split, dict[str, int]] = {split: {} for split in SPLITS}
    engine = Engine()
    try:
        _check_arguments(engine, tasks, simplification)
        for split, worlds in _draw_worlds(engine, tasks, variations, simplification, seed).items():
            for world in worlds:
                for its in policies:
                    episode, score = play(engine, world, its, steps, simplification, seed)
                    parts[split] += episode
                    scores[split] |= {t.episode: score for t in episode}
    finally:
        engine.close()
    record = describe_run("physics", out, arguments, ["scienceworld"]) | {"scores": scores}
    write_collection(out, parts, record)


class Engine:
    """ScienceWorld's simulator, a Java program that runs until ``close``.

    The package's own ``step`` lists all valid actions each time, which takes ten times as long as the step; its
    ``reset`` loads a second time.

    Raises:
        InputError: the package or Java is missing, or Java does not start.
    """

    def __init__(self) -> None:
        try:
            from py4j.protocol import Py4JError
            from scienceworld import ScienceWorldEnv
        except ImportError as error:
            raise InputError(
                "swirl collect physics: the package scienceworld is not installed; pip install "
                "'swirl-lightning[physics]'"
            ) from error
        cure = "install Java 8 or newer (Debian's package default-jre-headless)"
        if shutil.which("java") is None:
            raise InputError(f"swirl collect physics: found no 'java' on the PATH, which ScienceWorld runs on; {cure}")
        try:
            self.wrapper = ScienceWorldEnv("")
        except (OSError, ValueError, Py4JError) as error:
            raise InputError(f"swirl collect physics: Java does not start ScienceWorld ({error}); {cure}") from error

    def load(self, world: World, simplification: str, gold: bool = False) -> str:
        """Begin a world anew; gives its first state."""
        self.wrapper.load(*world, simplification, generateGoldPath=gold)
        return self.step("look around")

    def step(self, action: str) -> str:
        """Gives the next state."""
        observation = self.wrapper.server.step(action)
        return describe(observation, self.wrapper.look(), self.wrapper.inventory())

    def valid(self) -> list[str]:
        """The actions that make sense here, by the engine's way that gives them all at once."""
        return [its["action"] for its in self.wrapper.get_valid_action_object_combinations_with_templates()]

    def score(self) -> int:
        """Of 100; below 0 the task has failed."""
        return round(100 * self.wrapper.server.getScore())

    def is_over(self) -> bool:
        """Whether the task is done or has failed."""
        return self.wrapper.server.getCompleted() or self.score() < 0

    def close(self) -> None:
        """End the Java program and wait until it has: else the wrapper complains of a broken pipe."""
        self.wrapper.close()
        self.wrapper._gateway.java_process.wait(timeout=60)


def play(
    engine: Engine, world: World, policy: Policy, steps: int, simplification: str, seed: int
) -> tuple[list[Transition], int]:
    """One episode from the beginning, and its final score of 100; below 0 the task has failed."""
    episode = f"{world[0]}-{world[1]}-{policy}"
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


def describe(observation: str, look: str, inventory: str) -> str:
    """What the agent sees, as sorted distinct lines, so that the delta form edits it by facts.

    ``room: kitchen``, ``here: a stove, which is turned off. On the stove is: nothing.``, ``door: A door to the outside
    (that is open)``, ``carried: an orange``, and the answer to the last action in one line, ``said: The cupboard is now
    open.``. Of two equal lines the second ends in `` (2)``.

    Args:
        observation: the engine's answer to the last action; one that only repeats the room or the inventory becomes
            ``said: the room`` or ``said: the inventory``.
        look: its description of the room.
        inventory: its list of what is carried.
    """
    said = {_one_line(look): "the room", _one_line(inventory): "the inventory"}
    lines = [f"said: {said.get(_one_line(observation), _one_line(observation))}", *_room(look)]
    lines += [f"carried: {_one_line(line)}" for line in inventory.splitlines() if line.startswith("\t")]
    seen = Counter[str]()
    for n, line in enumerate(lines):
        seen[line] += 1
        if seen[line] > 1:
            lines[n] = f"{line} ({seen[line]})"
    return "\n".join(sorted(lines))


def _room(look: str) -> Iterator[str]:
    section = "here"
    for line in look.splitlines():
        if name := _ROOM.match(line):
            yield f"room: {name[1]}"
        elif line.startswith("\t"):
            yield f"{section}: {_one_line(line)}"
        elif line.startswith("You also see"):
            section = "door"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _check_arguments(engine: Engine, tasks: list[str] | None, simplification: str) -> None:
    known = {
        "tasks": engine.wrapper.get_task_names(),
        "simplification": ["easy", *engine.wrapper.get_possible_simplifications()],
    }
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
