"""What a collector has played so far, on disk game by game, so that the same command goes on after whatever ends it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

from swirl_lightning.environments.rows import FIELDS
from swirl_lightning.types import InputError, Stopped, Transition, writing

PLAYED = "played.jsonl"
log = logging.getLogger(__name__)


class Game(NamedTuple):
    """What was played at one time.

    Args:
        transitions: in their order.
        notes: what else is known of it, as JSON can write it.
    """

    transitions: list[Transition]
    notes: dict[str, Any]


class Played:
    """A file of games beside the collection that will be made of them; it is there until that is whole.

    A line holds a game. Where a disk fills, a signal comes or the engine ends, what was played before is there, and
    the same command reads it instead of playing it again.

    Args:
        out: the folder of the collection.
        arguments: of the collector, as JSON can write them; games of others are not taken for these.
        total: how many games there will be.
        noun: what they are called, in the plural.
    """

    def __init__(self, out: Path, arguments: Mapping[str, Any], total: int, noun: str) -> None:
        self.path = out / PLAYED
        self.total = total
        self.noun = noun
        self._head = json.loads(json.dumps({"arguments": dict(arguments)}))
        self._games: dict[str, Game] = {}
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Played:
        """Read what is there.

        Raises:
            InputError: it was played with other arguments.
        """
        if self.path.exists():
            self._read()
            log.info("%s: going on after %d of %d %s", self.path, len(self._games), self.total, self.noun)
        return self

    def game(self, name: str, play: Callable[[], Game]) -> Game:
        """The game of this name: played now, and kept, unless it was before."""
        if name not in self._games:
            made = play()
            with writing(self.path):
                if self._file is None:
                    self._begin()
                rows = [[getattr(t, field) for field in (*FIELDS, "action")] for t in made.transitions]
                self._write({"game": name, "transitions": rows, "notes": made.notes})
            self._games[name] = made
        return self._games[name]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the file of a collection that is whole; else say what is kept, and how to go on."""
        if self._file is not None:
            with suppress(OSError):  # what could not be written, once more
                self._file.close()
        of_no_use = isinstance(error, InputError) and len(self._games) == self.total  # with other arguments alone
        if error is None or of_no_use or not self._games:
            self.path.unlink(missing_ok=True)
            with suppress(OSError):  # a collection is in it, or it was never made
                self.path.parent.rmdir()
        else:
            kept = f"{len(self._games)} of {self.total} {self.noun} are kept in {self.path}"
            _add(error, f"{kept}, and the same command goes on from there")

    def _begin(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab")
        if not self._file.tell():
            self._write(self._head)

    def _write(self, row: Mapping[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()

    def _read(self) -> None:
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # the last line may be half written
        if len(whole) < len(content):
            with writing(self.path), self.path.open("r+b") as file:
                file.truncate(len(whole))
        try:
            head, *rows = [json.loads(line) for line in whole.splitlines()] or [self._head]
            before = head["arguments"]
            self._games = {
                row["game"]: Game([Transition(*t) for t in row["transitions"]], row["notes"]) for row in rows
            }
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{self.path}: found no readable games ({type(error).__name__}: {error}), expected those of a "
                "collection that was ended; remove it to begin anew"
            ) from error
        given = self._head["arguments"]
        if changed := [name for name in sorted(before.keys() | given) if before.get(name) != given.get(name)]:
            found = ", ".join(f"{name} {json.dumps(before.get(name))}" for name in changed)
            raise InputError(
                f"{self.path}: found {len(self._games)} {self.noun} that were played with other arguments ({found}), "
                "expected the same: give those to go on, or another --out, or remove the file to begin anew"
            )


def _add(error: BaseException, words: str) -> None:
    """Let an error say more."""
    if isinstance(error, Stopped):
        error.where = f"while it played; {words}"
    elif isinstance(error, OSError) and error.strerror:
        error.strerror += f"; {words}"
    elif isinstance(error, InputError):
        error.args = (f"{error}; {words}",)
    else:
        log.warning("%s", words)
