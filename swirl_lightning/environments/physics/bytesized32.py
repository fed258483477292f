"""ByteSized32-State-Prediction (arXiv 2406.06485) as it is published: ``test.jsonl`` and ``train.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from swirl_lightning.environments.physics.objects import write_objects
from swirl_lightning.environments.splits import SPLITS, Fractions, Split, assign_splits
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
    split.

    Args:
        path: a file, or a folder with ``test.jsonl``.
        step: what a transition is, in the benchmark's words: ``action`` is action-driven, from ``current_state`` to
            ``action_state``; ``tick`` is environment-driven, from there to ``tick_state``; ``full`` is both together.
        fractions: shares of labelled, state_only, validation and test.
        seed: of the division.

    Raises:
        InputError: a file is missing or a row is not as published.
    """
    if path.is_file() or not (path / "train.jsonl").is_file():
        return _divide(list(_rows(path if path.is_file() else path / "test.jsonl", step)), fractions, seed)
    parts = _divide(list(_rows(path / "train.jsonl", step)), fractions, seed)
    test = [transition for _, transition in _rows(path / "test.jsonl", step)]
    return parts | {"state_only": parts["state_only"] + parts["test"], "test": test}


def _divide(rows: list[Row], fractions: Fractions, seed: int) -> dict[Split, list[Transition]]:
    split_of = assign_splits((world for world, _ in rows), fractions, seed, "world")
    return {split: [transition for world, transition in rows if split_of[world] == split] for split in SPLITS}


def _rows(path: Path, step: Step) -> Iterator[Row]:
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected rows of ByteSized32-State-Prediction; check the path")
    seen: dict[str, int] = {}
    with path.open("rb") as file:
        for line, raw in enumerate(file, start=1):
            world, transition = _row(f"{path}:{line}", raw, step)
            if (first := seen.setdefault(transition.episode, line)) != line:
                raise InputError(
                    f"{path}:{line}: state_id: found {transition.episode!r} again (first in line {first}), expected "
                    "each state of a game once; remove one of the rows"
                )
            yield world, transition
    if not seen:
        raise InputError(f"{path}: found no rows, expected at least one transition")


def _row(where: str, raw: bytes, step: Step) -> Row:
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{where}: found no valid JSON ({error}), expected one JSON object a line; copy the file again"
        ) from error
    before, after = STEPS[step]
    try:
        game, action = row["game"], row["action_state"]["lastAction"]
        states = {name: write_objects(row[name]["objects"]) for name in ("current_state", before, after)}
        episode = f"{game}-{row['state_id']}"
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{where}: found a row that is not of ByteSized32-State-Prediction ({_say(error)}), expected game, "
            "state_id and current_state, action_state and tick_state with their objects; take the file as published"
        ) from error
    if not isinstance(action, str) or not action.strip():
        raise InputError(f"{where}: action_state.lastAction: found {action!r}, expected the action; fill it in")
    # Rows are no sequences: each is an episode of one step.
    return f"{game}\n{states['current_state']}", Transition(episode, 0, states[before], states[after], action)


def _say(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)
