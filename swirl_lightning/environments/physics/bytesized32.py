"""ByteSized32-State-Prediction (arXiv 2406.06485) as it is published: ``test.jsonl`` and ``train.jsonl``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from swirl_lightning.environments.physics.objects import write_objects
from swirl_lightning.environments.rows import json_lines
from swirl_lightning.environments.splits import Fractions, Split, divide
from swirl_lightning.types import InputError, Transition

Step = Literal["action", "tick", "full"]
STEPS: dict[Step, tuple[str, str]] = {
    "action": ("current_state", "action_state"),
    "tick": ("action_state", "tick_state"),
    "full": ("current_state", "tick_state"),
}
Row = tuple[str, Transition]  # the world that it begins in, and the transition


def is_bytesized32(path: Path) -> bool:
    """Whether this is a file of the benchmark, or a folder of them: with ``test.jsonl`` but no labelled half."""
    if path.is_dir():
        return (path / "test.jsonl").is_file() and not any(path.glob("labelled.*"))
    return path.suffix == ".jsonl"


def read_bytesized32(path: Path, step: Step, fractions: Fractions, seed: int) -> dict[Split, list[Transition]]:
    """The four splits. Rows that begin in one world of one game are never parted.

    With ``train.jsonl`` in the folder, ``test.jsonl`` is the test split, as published, and ``train.jsonl`` is divided
    into the other three, the share of test going to state_only. A single file is divided into all four: an unofficial
    split. The arguments are those of ``PhysicsDataModule``; the benchmark calls the steps ``action`` and ``tick``
    action-driven and environment-driven.

    Raises:
        InputError: a file is missing or a row is not as published.
    """
    if path.is_file() or not (path / "train.jsonl").is_file():
        return divide(_rows(path if path.is_file() else path / "test.jsonl", step), fractions, seed, "world")
    parts = divide(_rows(path / "train.jsonl", step), fractions, seed, "world")
    test = [transition for _, transition in _rows(path / "test.jsonl", step)]
    return parts | {"state_only": parts["state_only"] + parts["test"], "test": test}


def _rows(path: Path, step: Step) -> Iterator[Row]:
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected rows of ByteSized32-State-Prediction; check the path")
    seen: dict[str, int] = {}
    for line, row in json_lines(path):
        world, transition = _read_row(f"{path}:{line}", row, step)
        if (first := seen.setdefault(transition.episode, line)) != line:
            raise InputError(
                f"{path}:{line}: state_id: found {transition.episode!r} again (first in line {first}), expected each "
                "state of a game once; remove one of the rows"
            )
        yield world, transition
    if not seen:
        raise InputError(f"{path}: found no rows, expected at least one transition")


def _read_row(where: str, row: Any, step: Step) -> Row:
    before, after = STEPS[step]
    try:
        game, action = row["game"], row["action_state"]["lastAction"]
        states = {name: write_objects(row[name]["objects"]) for name in ("current_state", before, after)}
        episode = f"{game}-{row['state_id']}"
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else error
        raise InputError(
            f"{where}: found a row that is not of ByteSized32-State-Prediction ({said}), expected game, "
            "state_id and current_state, action_state and tick_state with their objects; take the file as published"
        ) from error
    if not isinstance(action, str) or not action.strip():
        raise InputError(f"{where}: action_state.lastAction: found {action!r}, expected the action; fill it in")
    # Rows are no sequences: each is an episode of one step.
    return f"{game}\n{states['current_state']}", Transition(episode, 0, states[before], states[after], action)
