"""Transitions of large data as rows of a table that is mapped from disk, and what lists of them can do as well."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import pyarrow as pa
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from swirl_lightning.codecs.cache import LARGE, blocks, kept_table, key_of
from swirl_lightning.types import Transition

log = logging.getLogger(__name__)

FIELDS = ("episode", "step", "state", "next_state", "action", "environment")
_NAME = pa.dictionary(pa.int8(), pa.string())
SCHEMA = pa.schema(
    [
        ("episode", pa.string()), ("step", pa.int64()), ("state", pa.string()), ("next_state", pa.string()),
        ("action", pa.string()), ("environment", _NAME), ("key", pa.binary()), ("changes", pa.bool_()),
    ]
)  # fmt: skip
Field = Literal["episode", "step", "action", "environment", "key", "changes"]
"""What is known of all rows at once; a state is only read with its row."""
PACKED = 8
"""How many times as large the text of a packed file may be."""
NOTICES = pa.schema([("notice", pa.string())])
FORMAT = 2
"""To be raised when a file's rows become other transitions than before: tables on disk are then made anew."""


class Rows(Sequence[Transition]):
    """Some rows of a table, in some order. A transition exists while it is used.

    Args:
        table: with the columns of ``SCHEMA``.
        order: the rows; none: all.
    """

    def __init__(self, table: pa.Table, order: np.ndarray | None = None) -> None:
        self.table = table
        self.order = np.arange(len(table)) if order is None else order
        self._columns = [table[field] for field in FIELDS]

    def __len__(self) -> int:
        return len(self.order)

    @overload
    def __getitem__(self, index: int) -> Transition: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> Transition | Rows:
        if isinstance(index, slice):
            return Rows(self.table, self.order[index])
        row = int(self.order[index])
        return Transition(*(column[row].as_py() for column in self._columns))

    @cached_property
    def hash(self) -> str:
        """See ``hash_of``."""
        return _hash_of(self)

    def with_column(self, field: Field, values: pa.Array) -> Rows:
        """The same rows with another column in place of one."""
        return Rows(self.table.set_column(self.table.schema.get_field_index(field), field, values), self.order)


def values(transitions: Sequence[Transition], field: Field) -> list[Any]:
    """One field of all transitions."""
    if isinstance(transitions, Rows):
        taken = transitions.table[field].take(pa.array(transitions.order))
        plain: list[Any] = (taken.cast(pa.string()) if taken.type == _NAME else taken).to_pylist()
        return plain
    return [getattr(t, field) for t in transitions]


def pick(transitions: Sequence[Transition], places: Iterable[int]) -> Sequence[Transition]:
    """The transitions at these places."""
    if isinstance(transitions, Rows):
        return Rows(transitions.table, transitions.order[np.fromiter(places, np.int64)])
    return [transitions[place] for place in places]


def join(*parts: Sequence[Transition]) -> Sequence[Transition]:
    """All transitions, one part after another; in a table where one of them is."""
    if not any(isinstance(part, Rows) for part in parts):
        return [t for part in parts for t in part]
    rows = [part if isinstance(part, Rows) else Rows(pa.Table.from_batches([_batch_of(part)])) for part in parts]
    starts = np.cumsum([0, *(len(part.table) for part in rows)])
    order = np.concatenate([part.order + start for part, start in zip(rows, starts[:-1], strict=True)])
    return Rows(pa.concat_tables([part.table for part in rows]), order)


def named(transitions: Sequence[Transition], environment: str) -> Sequence[Transition]:
    """The transitions as those of an environment."""
    if isinstance(transitions, Rows):
        codes = np.zeros(len(transitions.table), np.int8)
        return transitions.with_column("environment", pa.DictionaryArray.from_arrays(codes, [environment]))
    return [replace(t, environment=environment) for t in transitions]


def without_actions(transitions: Sequence[Transition]) -> Sequence[Transition]:
    """The transitions, of which none has an action."""
    if isinstance(transitions, Rows):
        return transitions.with_column("action", pa.nulls(len(transitions.table), pa.string()))
    return [t if t.action is None else replace(t, action=None) for t in transitions]


def hash_of(transitions: Sequence[Transition]) -> str:
    """The number of transitions and a hash of all that they hold, in their order."""
    if isinstance(transitions, Rows):
        return transitions.hash
    return _hash_of(transitions)


def _hash_of(transitions: Sequence[Transition]) -> str:
    digest = hashlib.blake2b(b"".join(values(transitions, "key")), digest_size=8)
    for field in ("environment", "action"):
        digest.update(repr(values(transitions, field)).encode())
    return f"{len(transitions)} rows, hash {digest.hexdigest()}"


def is_large(transitions: Sequence[Transition]) -> bool:
    """Whether encodings of the transitions are worth a place on disk."""
    return isinstance(transitions, Rows) or sum(len(t.state) + len(t.next_state) for t in transitions) >= LARGE


def read_file(path: Path, rows: Callable[[list[str]], Iterable[Transition]]) -> Sequence[Transition]:
    """The rows of a file: a list, or where the file is large, those of a table that the first call of all makes.

    What there is to say of them is said every time: it is kept with the table.

    Args:
        path: of the file.
        rows: reads the file, and adds to a list what there is to say of it.
    """
    notices: list[str] = []
    if path.stat().st_size * (1 if path.suffix == ".jsonl" else PACKED) < LARGE:
        found: Sequence[Transition] = list(rows(notices))
    else:
        found, notices = _read_large(path, rows)
    if not getattr(rank_zero_only, "rank", 0):
        for notice in notices:
            log.info("%s: %s", path, notice)
    return found


def _read_large(
    path: Path, rows: Callable[[list[str]], Iterable[Transition]]
) -> tuple[Sequence[Transition], list[str]]:
    notices: list[str] = []
    read = False
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal read
        log.info("%s: reading it, once for all starts", path)
        notices.clear()  # of a reading that came to no end
        yield from map(_batch_of, blocks(rows(notices)))
        read = True

    def told() -> Iterator[pa.RecordBatch]:
        for _ in () if read else rows(notices):  # the table was there and this is not
            pass
        yield pa.record_batch([notices], schema=NOTICES)

    key = key_of(FORMAT, path.name.split(".")[1:], content)
    found = Rows(kept_table(f"rows-{key}", SCHEMA, batches))
    return found, kept_table(f"notices-{key}", NOTICES, told)["notice"].to_pylist()


def _batch_of(transitions: Sequence[Transition]) -> pa.RecordBatch:
    columns = [[getattr(t, name) for t in transitions] for name in SCHEMA.names]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)]
    return pa.record_batch(arrays, SCHEMA)
