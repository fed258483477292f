"""Read what a run left in its folder: results.json, and if they are there history.jsonl and samples.jsonl."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swirl_lightning.types import InputError, writing

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder in memory.

    Args:
        folder: where the files are.
        results: the content of results.json; ``results["stages"]`` is a list of objects that have a name.
        history: one row an update, in the order of the file; empty when there is no history.jsonl.
        samples: one row a stage and transition; empty when there is no samples.jsonl.
    """

    folder: Path
    results: Row
    history: list[Row]
    samples: list[Row]


def read_run(folder: Path) -> Run:
    """Read a run's folder. An unfinished run is fine.

    Raises:
        InputError: results.json is missing, or a file is not what it should be; the message names the line.
    """
    path = folder / "results.json"
    if not path.is_file():
        raise InputError(f"{path}: not found; expected the folder of a run, which holds results.json")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); restore the file or run the training again") from error
    stages = results.get("stages") if isinstance(results, dict) else None
    if not isinstance(stages, list):
        raise InputError(f'{path}: expected an object with a list "stages", found {_found(results)}')
    for index, stage in enumerate(stages):
        if not (isinstance(stage, dict) and isinstance(stage.get("stage"), str)):
            raise InputError(f'{path}: stages[{index}]: expected an object with a name "stage", found {_found(stage)}')
        for key in ("metrics", "validation"):
            if not isinstance(stage.get(key) or {}, dict):
                raise InputError(f"{path}: stages[{index}].{key}: expected an object, found {_found(stage[key])}")
    return Run(folder, results, read_rows(folder / "history.jsonl"), read_rows(folder / "samples.jsonl"))


def number(row: Mapping[str, Any], key: str) -> float | None:
    """The finite number under ``key``; None when it is missing, null, NaN, infinite or no number."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def read_rows(path: Path) -> list[Row]:
    """The rows of history.jsonl or samples.jsonl; none where there is no file.

    Raises:
        InputError: a line is no row; half a line at the end, which a kill leaves, is passed over.
    """
    if not path.is_file():
        return []
    rows = []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for index, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            if index == len(lines):  # a run that was killed leaves half a line, without a newline
                break
            raise InputError(f"{path}:{index}: not valid JSON ({error}); mend or delete the line") from error
        if not (isinstance(row, dict) and isinstance(row.get("stage"), str)):
            raise InputError(f'{path}:{index}: expected an object with a name "stage", found {_found(row)}')
        rows.append(row)
    return rows


def _found(value: object) -> str:
    return f"the keys {sorted(value)}" if isinstance(value, dict) else f"{type(value).__name__} {str(value)[:40]!r}"


def write_whole(path: Path, text: str) -> None:
    """Write a file beside its place and move it there, so that it is whole or as it was."""
    partial = path.with_name(path.name + ".partial")
    try:
        with writing(path):
            partial.write_text(text, encoding="utf-8", newline="\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
