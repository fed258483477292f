"""Codes of pictures on disk, for codebooks that take seconds to encode one, such as networks.

A file is a database of SQLite, which survives a kill at any moment and takes several processes at once; every entry has
a checksum of its own. What is encoded is written every few seconds, so that a kill costs no more than these.
"""

from __future__ import annotations

import logging
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing

import numpy as np

from swirl_lightning.codecs.cache import cache_folder, key_of, lock
from swirl_lightning.types import Ids

log = logging.getLogger(__name__)

CODES = 1
"""To be raised when a picture gets other codes than before although its codebook has the same name."""
SECONDS = 5.0
"""Of encoding, after which what is new is written."""
AT_ONCE = 500
"""Pictures that are asked for at a time."""


class KeptCodes:
    """The codes of pictures, by their names, which say what they show.

    Where the folder cannot be used, a warning says so and all is encoded anew.

    Args:
        parts: all that codes depend on beside the picture: the codebook's name, which says its weights, its cells.
    """

    def __init__(self, *parts: object) -> None:
        self.path = cache_folder() / f"codes-{key_of(CODES, *parts)}.sqlite"
        self._usable = True

    def codes(self, pictures: Iterable[str], encode: Callable[[str], Ids]) -> dict[str, Ids]:
        """The codes of pictures, of which those that nobody has encoded yet are; another process is waited for.

        Args:
            pictures: their names.
            encode: makes the codes of one.
        """
        wanted = list(dict.fromkeys(pictures))
        found: dict[str, Ids] = {}
        try:
            if self._usable:
                found = self._find(wanted)
                missing = [picture for picture in wanted if picture not in found]
                if missing:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    with lock(self.path):
                        found |= self._find(missing)  # made by others while this process waited
                        self._make([picture for picture in missing if picture not in found], encode, found)
        except (OSError, sqlite3.Error, NotImplementedError) as error:
            self._usable = False
            log.warning(
                "%s cannot be used (%s): codes of pictures are held in memory, and are made again at the next start. "
                "Make room there, or set HF_DATASETS_CACHE to a folder that can be written",
                self.path.parent, getattr(error, "strerror", None) or error,
            )  # fmt: skip
        for picture in wanted:
            if picture not in found:
                found[picture] = encode(picture)
        return found

    def _make(self, pictures: Sequence[str], encode: Callable[[str], Ids], found: dict[str, Ids]) -> None:
        """Encode pictures into ``found`` and onto the disk."""
        if len(pictures) > 1:
            log.info("encoding %d pictures, once for all starts", len(pictures))
        new: dict[str, Ids] = {}
        written = time.monotonic()
        try:
            for picture in pictures:
                new[picture] = found[picture] = encode(picture)
                if time.monotonic() - written >= SECONDS:
                    self._put(new)
                    new, written = {}, time.monotonic()
        finally:  # also what stood before a picture that is refused, or an interrupt
            if new:
                self._put(new)

    def _find(self, pictures: Sequence[str]) -> dict[str, Ids]:
        """Those of the pictures that are there, whole."""
        if not self.path.exists():
            return {}
        found: dict[str, Ids] = {}
        broken = 0
        try:
            with closing(sqlite3.connect(self.path, timeout=60)) as table:
                for start in range(0, len(pictures), AT_ONCE):
                    part = pictures[start : start + AT_ONCE]
                    marks = ",".join("?" * len(part))
                    for picture, codes, sum_ in table.execute(f"SELECT * FROM codes WHERE picture IN ({marks})", part):
                        if isinstance(codes, bytes) and sum_ == _sum(picture, codes):
                            found[picture] = tuple(np.frombuffer(codes, "<i4").tolist())
                        else:
                            broken += 1
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):  # it is being made, or a kill came before it was
                raise
        except sqlite3.DatabaseError:  # no database, or not whole
            broken += 1
            self.path.unlink(missing_ok=True)
        if broken:
            log.warning("%s is not as it was written: what is missing is encoded again", self.path)
        return found

    def _put(self, new: dict[str, Ids]) -> None:
        rows = [(picture, np.array(codes, "<i4").tobytes()) for picture, codes in new.items()]
        with closing(sqlite3.connect(self.path, timeout=60)) as table, table:
            table.execute("CREATE TABLE IF NOT EXISTS codes (picture TEXT PRIMARY KEY, codes BLOB, sum INTEGER)")
            table.executemany("INSERT OR REPLACE INTO codes VALUES (?, ?, ?)", [(*row, _sum(*row)) for row in rows])


def _sum(picture: str, codes: bytes) -> int:
    return zlib.crc32(codes, zlib.crc32(picture.encode()))
