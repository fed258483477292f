"""AURORA-Bench in its official layout (``McGill-NLP/AURORA``): ``test.json`` and ``data/TASK/train.json``.

Each is a JSON list of rows ``input, output, instruction``, in ``test.json`` also ``task``. Paths of pictures go from
the folder of the repository on. Three of the eight tasks of the benchmark have no output: clevr, emu and epic.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from swirl_lightning.environments.benchmark import check_row, read_json, told_missing
from swirl_lightning.pictures import name_picture
from swirl_lightning.types import InputError, Transition

Task = Literal["magicbrush", "ag", "something", "whatsup", "kubric"]
TASKS: tuple[Task, ...] = get_args(Task)
INPUT_ONLY = ("clevr", "emu", "epic")


class Edit(NamedTuple):
    """A row: the transition and, where the row has it, what its target shows."""

    transition: Transition
    caption: str | None


def read_edits(path: Path, root: Path, tasks: Sequence[str], task: str | None, skip_missing: bool) -> list[Edit]:
    """The rows of a file that are of these tasks and have a target, each an episode of one step.

    Args:
        path: the file.
        root: where paths of pictures go from.
        tasks: those that are wanted.
        task: that of all rows; None where each row names its own.
        skip_missing: leave out rows whose pictures are not there.

    Raises:
        InputError: the file or a row of it is not as published, a task is unknown, or a picture is missing or broken.
    """
    rows = read_json(path)
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{path}: found {type(rows).__name__ if rows else 'no rows'}, expected a JSON list of rows")
    edits, missing, wanted = [], [], 0
    for n, row in enumerate(rows):
        where = f"{path}: row {n}"
        its = check_row(where, row, ("input",)).get("task") if task is None else task
        if its not in (*TASKS, *INPUT_ONLY):
            raise InputError(f"{where}: task: found {its!r:.60}, expected one of {', '.join((*TASKS, *INPUT_ONLY))}")
        if its not in tasks:
            continue
        wanted += 1
        check_row(where, row, ("input", "output"))
        gone = [row[field] for field in ("input", "output") if not (root / row[field]).is_file()]
        missing += gone[:1]
        if not gone:
            edits.append(_edit(where, f"{its}-{n:05d}", its, row, root))
    told_missing(path, missing, wanted, skip_missing)
    return edits


def _edit(where: str, episode: str, task: str, row: dict[str, Any], root: Path) -> Edit:
    said = row.get("instruction")
    if isinstance(said, list) and said:  # some rows have several; the release takes the first
        row = row | {"instruction": said[0]}
    check_row(where, row, ("instruction",))
    states = []
    for field in ("input", "output"):
        try:
            states.append(name_picture(root / row[field]))
        except InputError as error:
            raise InputError(f"{where}: {field}: {error}") from error
    caption = row.get("caption")
    return Edit(
        Transition(episode, 0, states[0], states[1], row["instruction"], task),
        caption if isinstance(caption, str) and caption.strip() else None,
    )
