"""The log format: rows ``episode, step, state, next_state, action?`` in JSONL, gzipped JSONL or Parquet.

Where states are pictures, rows have ``image`` and ``next_image`` in place of both: paths of image files, from the log's
folder on.

Episodes may be numbers, steps digits in quotes; blank lines, a byte order mark and other fields are left out.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import re
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swirl_lightning.pictures import file_of, is_known, name_picture
from swirl_lightning.types import InputError, Transition

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
FIELDS = ("episode", "step", "state", "next_state")
IMAGES = {"state": "image", "next_state": "next_image"}
"""Where a state is a picture, the field of its file."""
MARK = b"\xef\xbb\xbf"
"""What some editors put before the first line of UTF-8."""
log = logging.getLogger(__name__)

Numbered = tuple[int, Transition]
"""A transition with its line, or its row in Parquet, counted from 1."""


def read_rows(path: Path, *, actions: bool | None) -> Sequence[Transition]:
    """Read all rows of a file.

    Args:
        path: a file whose name ends in ``.jsonl``, ``.jsonl.gz`` or ``.parquet``.
        actions: True requires an action in every row; False leaves every action out; None takes them as they come.

    Raises:
        InputError: the file cannot be read, or a row is malformed. Nothing is skipped.
    """
    from swirl_lightning.environments.table import read_file, values  # here: a collector must start without it

    _check_name(path)
    if _has_pictures(path):  # where they lie is known to a process that has read them
        transitions: Sequence[Transition] = [transition for _, transition in scan_rows(path)]
    else:
        transitions = read_file(path, lambda notices: (transition for _, transition in scan_rows(path, notices)))
    if actions is False:
        return drop_actions(transitions, path)
    if actions and None in values(transitions, "action"):
        line = next(line for line, transition in scan_rows(path) if transition.action is None)
        raise InputError(
            f"{path}:{line}: action: found none, expected text: only state_only rows may come without an action; "
            "add it, or move the row to the state_only split"
        )
    return transitions


def check_transitions(transitions: Sequence[Transition], split: str) -> None:
    """Refuse transitions that no row of a log would make: a data module may have them from anywhere.

    Raises:
        InputError: one is none, or a field of it is not what it must be.
    """
    if not isinstance(transitions, Sequence):
        raise InputError(f"data: {split}: found {_show(transitions)}, expected a list of transitions")
    for place, t in enumerate(transitions):
        if not isinstance(t, Transition):
            raise InputError(f"data: {split}: found {_show(t)} at place {place}, expected a Transition")
        _check_fields(f"data: {split}: episode {t.episode!r}, step {t.step}", t)


def drop_actions(transitions: Sequence[Transition], source: object) -> Sequence[Transition]:
    """The transitions without their actions. Warns where there were any."""
    from lightning.pytorch.utilities.rank_zero import rank_zero_warn  # here: a collector must start without Lightning

    from swirl_lightning.environments.table import values, without_actions

    if dropped := sum(action is not None for action in values(transitions, "action")):
        rank_zero_warn(f"{source}: the state-only half has {dropped} actions; they are left out and never used")
    return without_actions(transitions)


def scan_rows(path: Path, notices: list[str] | None = None) -> Iterator[Numbered]:
    """Read and check the rows of a file one by one; an action may be there or not.

    Fields that are none of a transition's are left out, with one line that counts them.

    Args:
        path: of the file.
        notices: where such lines go, to be told at every start; None tells them now.
    """
    _check_name(path)
    seen = array("q")
    others: Counter[str] = Counter()
    for line, row in _lines(path):
        transition = _check(f"{path}:{line}", row, path.parent)
        others.update(row.keys() - {*FIELDS, *IMAGES.values(), "action"})
        seen.append(hash((transition.episode, transition.step)))
        yield line, transition
    if len(np.unique(np.frombuffer(seen, np.int64))) < len(seen):
        _check_steps(path)
    if not seen:
        raise InputError(f"{path}: found no rows, expected at least one transition")
    if others:
        told = "other fields are left out: " + ", ".join(f"{name} ({rows} rows)" for name, rows in others.items())
        if notices is None:
            log.info("%s: %s", path, told)
        else:
            notices.append(told)


def _check_name(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    if not path.name.endswith(SUFFIXES):
        raise InputError(f"{path}: found the name {path.name!r}, expected one ending in {', '.join(SUFFIXES)}")


def _check_steps(path: Path) -> None:
    """Refuse a step that is there twice."""
    seen: dict[tuple[str, int], int] = {}
    for line, row in _lines(path):
        transition = _check(f"{path}:{line}", row, path.parent)
        key = (transition.episode, transition.step)
        if (first := seen.setdefault(key, line)) != line:
            raise InputError(
                f"{path}:{line}: step: found step {key[1]} of episode {key[0]!r} again (first in line {first}), "
                "expected each step once; number the steps of an episode anew"
            )


def write_split(
    folder: Path, name: str, transitions: list[Transition], with_actions: bool, home: Path | None = None
) -> dict[str, Any]:
    """Write ``name.jsonl.gz``, the same bytes for the same transitions.

    Args:
        folder: where it is written.
        name: of the split.
        transitions: its rows.
        with_actions: whether their actions are written.
        home: the folder where it will lie, from which paths of pictures go; None where that is ``folder``.

    Returns:
        The number of transitions and the sha256 of the uncompressed bytes, for ``collection.json``.
    """
    lines = []
    for t in transitions:
        row = fields_of(t, home or folder)
        lines.append(json.dumps(row | {"action": t.action} if with_actions else row, ensure_ascii=False) + "\n")
    data = "".join(lines).encode()
    with (folder / f"{name}.jsonl.gz").open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        packed.write(data)
    return {"transitions": len(lines), "sha256": hashlib.sha256(data).hexdigest()}


def fields_of(t: Transition, folder: Path) -> dict[str, Any]:
    """What a row of a log in a folder says of a transition, but for its action."""
    row: dict[str, Any] = {}
    for field in FIELDS:
        value = getattr(t, field)
        if field in IMAGES and is_known(value):
            row[IMAGES[field]] = os.path.relpath(file_of(value, folder), folder)
        else:
            row[field] = value
    return row


def _has_pictures(path: Path) -> bool:
    """Whether a log is one of pictures, by its first row."""
    _, row = next(_lines(path), (0, None))
    return isinstance(row, dict) and not row.keys().isdisjoint(IMAGES.values())


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    return parquet_rows(path) if path.suffix == ".parquet" else json_lines(path)


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """What each line of a file says in JSON, gzipped or not, with the number of the line, from 1; blank ones nothing.

    Raises:
        InputError: a line is no JSON or no UTF-8, or has a key twice.
    """
    line = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for line, raw in enumerate(file, start=1):
                text = (raw.removeprefix(MARK) if line == 1 else raw).decode()
                if text.strip():
                    yield line, json.loads(text, object_pairs_hook=_distinct)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}:{line}: found the byte {error.object[error.start]:#04x} in column {error.start + 1}, "
            "expected UTF-8; convert the file to UTF-8, or copy it again"
        ) from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is no JSONDecodeError
        raise InputError(
            f"{path}:{line}: found no valid JSON ({error}), expected one JSON object a line; mend it, or copy the file "
            "again"
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: the gzip data ends or breaks after line {line} ({error}); copy it again") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise json.JSONDecodeError(f"a key stands twice in {[key for key, _ in pairs]}", "", 0)
    return row


def parquet_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """The rows of a Parquet file, with their numbers, from 1.

    Raises:
        InputError: it is none, or part of it is damaged.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        rows = (row for batch in file.iter_batches() for row in batch.to_pylist())
        yield from enumerate(rows, start=1)
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:  # damaged parts are an OSError there
        raise InputError(f"{path}: found no readable Parquet ({error}); write the file again") from error


def _check(where: str, row: Any, folder: Path) -> Transition:
    if not isinstance(row, dict):
        raise InputError(f"{where}: found {_show(row)}, expected a JSON object with the fields {', '.join(FIELDS)}")
    row = row | {field: _picture(where, image, row, folder) for field, image in IMAGES.items() if image in row}
    if missing := [field for field in FIELDS if field not in row]:
        raise InputError(f"{where}: {missing[0]}: missing; found the fields {sorted(row)}, expected {list(FIELDS)}")
    if type(row["episode"]) is int:
        row = row | {"episode": str(row["episode"])}
    step = row["step"]
    if isinstance(step, str) and re.fullmatch(r"[0-9]{1,18}", step):
        step = int(step)
    transition = Transition(row["episode"], step, row["state"], row["next_state"], row.get("action"))
    _check_fields(where, transition)
    for field in ("episode", "action"):
        if isinstance(row.get(field), str) and not row[field].strip():
            raise InputError(f"{where}: {field}: found an empty text, expected a name; fill it in")
    return transition


def _check_fields(where: str, t: Transition) -> None:
    for field in ("episode", "state", "next_state"):
        _check_text(where, field, getattr(t, field))
    if t.action is not None:
        _check_text(where, "action", t.action)
    if type(t.step) is not int or not 0 <= t.step < 2**63:  # a bool is an int to isinstance
        raise InputError(
            f"{where}: step: found {_show(t.step)}, expected a whole number from 0, below 2**63; number the steps"
        )


def _picture(where: str, field: str, row: dict[str, Any], folder: Path) -> str:
    """The state that the image file of a row shows."""
    _check_text(where, field, row[field])
    if both := [state for state, image in IMAGES.items() if image == field and state in row]:
        raise InputError(f"{where}: found {field} and {both[0]}, expected one of them; a state is a picture or a text")
    try:
        return name_picture(folder / row[field])
    except InputError as error:
        raise InputError(f"{where}: {field}: {error}") from error


def _check_text(where: str, field: str, value: Any) -> None:
    if not isinstance(value, str):
        raise InputError(f"{where}: {field}: found {_show(value)}, expected text; write it as a string")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise InputError(f"{where}: {field}: found half a surrogate pair, expected Unicode text; escape it as a pair")


def _show(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) < 60 else text[:60] + '...'} ({type(value).__name__})"
