"""What has been made so far, on disk line by line, so that the same command goes on after whatever ends it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from swirl_lightning.types import InputError, Stopped, writing

log = logging.getLogger(__name__)


class Kept:
    """A file of JSON lines beside the result that will be made of them; it is there until that is whole.

    Where a disk fills, a signal comes or anything fails, what was made before is there, and the same command reads it
    instead of making it again. A line is written whole or not at all.

    Args:
        path: the file.
        arguments: what decides the lines, as JSON can write it, which stands in the first; lines of others are not
            taken for these. None where what is there is begun anew.
        what: what a line is, in the plural, and how it came about: "games that were played".
        total: how many there will be; None where that is not known.
    """

    def __init__(self, path: Path, arguments: Mapping[str, Any] | None, what: str, total: int | None = None) -> None:
        self.path = path
        self.what = what
        self.total = total
        self.rows: list[dict[str, Any]] = []
        self._head = None if arguments is None else json.loads(json.dumps({"arguments": dict(arguments)}))
        self._file: FileIO | None = None

    @property
    def noun(self) -> str:
        """What the lines are called, in the plural."""
        return self.what.split()[0]

    def __enter__(self) -> Kept:
        """Read what is there.

        Raises:
            InputError: it cannot be read, or was made with other arguments.
        """
        if self._head is None:
            self.path.unlink(missing_ok=True)
        elif self.path.exists():
            self._read(self._head)
            log.info("%s: going on after %s %s", self.path, self._count(), self.noun)
        return self

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep some more."""
        made = [dict(row) for row in rows]
        if not made:
            return
        with writing(self.path):
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = FileIO(self.path, "ab")
            head = [self._head] if self._head and not self._file.tell() else []
            self._write("".join(json.dumps(row) + "\n" for row in (*head, *made)).encode())
        self.rows += made

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the file of a result that is whole; else say what is kept, and how to go on."""
        if self._file is not None:
            self._file.close()
        of_no_use = isinstance(error, InputError) and len(self.rows) == self.total  # with other arguments alone
        if error is None or of_no_use or not self.rows:
            self.path.unlink(missing_ok=True)
        else:
            kept = f"{self._count()} {self.noun} are kept in {self.path}"
            _add(error, f"{kept}, and the same command {'goes on from there' if self._head else 'begins anew'}")

    def _count(self) -> str:
        return f"{len(self.rows)}" if self.total is None else f"{len(self.rows)} of {self.total}"

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        whole, left = self._file.tell(), memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            self._file.truncate(whole)
            raise

    def _read(self, given: dict[str, Any]) -> None:
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # the last line may be half written
        if len(whole) < len(content):
            with writing(self.path), self.path.open("r+b") as file:
                file.truncate(len(whole))
        try:
            head, *self.rows = [json.loads(line) for line in whole.splitlines()] or [given]
            before = dict(head["arguments"])
            if not all(isinstance(row, dict) for row in self.rows):
                raise TypeError("a line is no object")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self.unreadable(error) from error
        now = given["arguments"]
        if changed := [name for name in sorted(before.keys() | now) if before.get(name) != now.get(name)]:
            found = ", ".join(f"{name} {json.dumps(before.get(name))}" for name in changed)
            raise InputError(
                f"{self.path}: found {len(self.rows)} {self.what} with other arguments ({found}), expected the same: "
                "give those to go on, or another --out, or remove the file to begin anew"
            )

    def unreadable(self, error: Exception) -> InputError:
        """That the file holds something else."""
        return InputError(
            f"{self.path}: found no readable {self.noun} ({type(error).__name__}: {error}), expected those of a "
            "command that was ended; remove it to begin anew"
        )


def _add(error: BaseException, words: str) -> None:
    """Let an error say more."""
    if isinstance(error, Stopped):
        error.where = f"on the way; {words}"
    elif isinstance(error, OSError) and error.strerror:
        error.strerror += f"; {words}"
    elif isinstance(error, InputError):
        error.args = (f"{error}; {words}",)
    else:
        log.warning("%s", words)
