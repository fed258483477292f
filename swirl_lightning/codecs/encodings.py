"""The token ids of large data, in a table that is mapped from disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from swirl_lightning.types import Encoded, Ids, Transition

_HEAD = np.dtype([("head", "u8"), ("tail", "u8")])
_IDS = pa.list_(pa.int32())
SCHEMA = pa.schema(
    [
        ("key", pa.binary()),
        ("action", pa.string()),
        ("x", _IDS),
        ("y", _IDS),
        ("z", _IDS),
        ("read", _IDS),
        ("length", pa.int32()),
    ]
)


class Sizes(NamedTuple):
    """Tokens of N transitions.

    Args:
        whole: prompt and completion together, of either role, with the end token. [N]
        y: what the FWM writes, without the end token. [N]
        z: the action, likewise; 0 where there is none. [N]
    """

    whole: np.ndarray
    y: np.ndarray
    z: np.ndarray

    def pick(self, places: np.ndarray) -> Sizes:
        """Those of some of the transitions: their places, or whether each is among them."""
        return Sizes(*(column[places] for column in self))


def sizes_of(codes: Sequence[Encoded]) -> Sizes:
    """The sizes of some transitions' ids."""
    rows = np.array([(code.length, len(code.y), len(code.z or ())) for code in codes], np.int64)
    return Sizes(*rows.reshape(-1, 3).T)


def batch_of(transitions: Sequence[Transition], codes: Sequence[Encoded]) -> pa.RecordBatch:
    """Transitions and their ids as rows of the table."""
    rows = [(t.key, t.action, c.x, c.y, c.z, c.read, c.length) for t, c in zip(transitions, codes, strict=True)]
    columns = zip(*rows, strict=True)
    return pa.record_batch([pa.array(c, kind) for c, kind in zip(columns, SCHEMA.types, strict=True)], SCHEMA)


class Encodings:
    """Finds a transition's ids by what it holds.

    Args:
        table: rows of ``batch_of``, at least one.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        # The first half of each key in sorted order, and whose it is: 16 bytes a row, all that is in memory.
        keys = (np.frombuffer(b"".join(part.to_pylist()), _HEAD) for part in table["key"].chunks)
        heads = np.concatenate([part["head"] for part in keys])
        self._rows = np.argsort(heads)
        self._heads = heads[self._rows]

    def find(self, transition: Transition) -> tuple[Ids, Ids, Ids | None, Ids | None] | None:
        """The ids x, y, z and read; None where the table has no such transition. Without its action, z is None."""
        key = transition.key
        head = np.frombuffer(key, _HEAD)["head"][0]
        first, end = (int(np.searchsorted(self._heads, head, side)) for side in ("left", "right"))
        for row in self._rows[first:end].tolist():
            unlike = transition.action is not None and self.table["action"][row].as_py() != transition.action
            if unlike or self.table["key"][row].as_py() != key:
                continue
            x, y, z, read = (self.table[name][row].as_py() for name in ("x", "y", "z", "read"))
            given = None if transition.action is None else tuple(z)
            return tuple(x), tuple(y), given, None if read is None else tuple(read)
        return None

    def sizes(self) -> Sizes:
        """Those of all rows."""
        y, z = (pc.fill_null(pc.list_value_length(self.table[name]), 0).to_numpy() for name in "yz")
        return Sizes(self.table["length"].to_numpy(), y, z)
