"""What is computed from large data once, and kept on disk for all starts, ranks and runs after."""

from __future__ import annotations

import errno
import logging
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from filelock import AcquireReturnProxy, FileLock, Timeout

from swirl_lightning.types import Transition

log = logging.getLogger(__name__)

LARGE = 2**24
"""Bytes of a file, or characters of states: what is smaller is read and encoded anew at every start, in seconds."""
BLOCK = 2**22
"""Characters of states that are in memory at a time while a table is written."""


def cache_folder() -> Path:
    """``swirl-lightning`` in the folder that HF_DATASETS_CACHE names, or else in that for the user's caches."""
    return Path(
        os.environ.get("HF_DATASETS_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache",
        "swirl-lightning",
    )


def key_of(*parts: object) -> str:
    """The same for the same parts, as a part of a file's name."""
    return blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def blocks(transitions: Iterable[Transition]) -> Iterator[list[Transition]]:
    """The transitions in lists of no more than ``BLOCK`` characters, or of one."""
    block: list[Transition] = []
    room = BLOCK
    for t in transitions:
        size = len(t.state) + len(t.next_state)
        if block and size > room:
            yield block
            block, room = [], BLOCK
        block.append(t)
        room -= size
    if block:
        yield block


def kept_table(name: str, schema: pa.Schema, batches: Callable[[], Iterable[pa.RecordBatch]]) -> pa.Table:
    """The table of a name, mapped from disk; the first call writes it, and others at the same time wait for that.

    A file is written under another name and moved, and has a checksum, so that one that was cut or changed is written
    again. Where the folder cannot be used, the table is made in memory, with a warning.

    Args:
        name: of the file, which must say all that the table depends on.
        schema: of the table.
        batches: makes its rows.
    """
    path = cache_folder() / f"{name}.arrow"
    try:
        if (table := _open(path)) is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with lock(path):
                if (table := _open(path)) is None:  # nobody wrote it while this process waited
                    _write(path, schema, batches())
                    table = _open(path)
        if table is None:
            raise OSError(errno.EIO, "what was written reads differently")
    except (OSError, NotImplementedError) as error:  # the latter of a file system without locks
        log.warning(
            "%s cannot be used (%s): what is computed from the data is held in memory, and is computed again at the "
            "next start. Make room there, or set HF_DATASETS_CACHE to a folder that can be written",
            path.parent, getattr(error, "strerror", None) or error,
        )  # fmt: skip
        return pa.Table.from_batches(batches(), schema)
    return table


def lock(path: Path) -> AcquireReturnProxy:
    """The right to write a file, which a process loses when it ends; another one is waited for, which is said."""
    held = FileLock(path.with_suffix(".lock"))
    try:
        return held.acquire(timeout=0)
    except Timeout:
        log.info("%s is being written by another process: waiting for it", path)
        return held.acquire()


def _write(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            summed = _Summed(file)
            with pa.ipc.new_file(summed, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
            file.flush()
            os.fsync(file.fileno())
        path.with_suffix(".sum").write_text(str(summed.sum), encoding="utf-8")
        os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink()
    log.info("%s: %.0f MiB, from which later starts read", path, path.stat().st_size / 2**20)


def _open(path: Path) -> pa.Table | None:
    """The table of a file, or None where there is none that is whole."""
    if not path.exists():
        return None
    try:
        expected, found = int(path.with_suffix(".sum").read_text(encoding="utf-8")), 0
        with path.open("rb") as file:
            while part := file.read(2**20):
                found = zlib.crc32(part, found)
        if found == expected:
            return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, ValueError):  # ArrowInvalid is a ValueError
        pass
    log.warning("%s is not as it was written: it is written again", path)
    return None


class _Summed:
    """A file that is written to, and the checksum of what was written."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sum = file, 0

    def write(self, data: bytes) -> int:
        self.sum = zlib.crc32(data, self.sum)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()
