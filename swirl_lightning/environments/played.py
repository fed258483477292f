"""What a collector has played so far, on disk game by game, so that the same command goes on after whatever ends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from swirl_lightning.environments.kept import Kept
from swirl_lightning.environments.rows import FIELDS
from swirl_lightning.types import Transition

PLAYED = "played.jsonl"


class Game(NamedTuple):
    """What was played at one time.

    Args:
        transitions: in their order.
        notes: what else is known of it, as JSON can write it.
    """

    transitions: list[Transition]
    notes: dict[str, Any]


class Played(Kept):
    """A file of games beside the collection that will be made of them. A line holds a game.

    Args:
        out: the folder of the collection.
        arguments: of the collector, as JSON can write them; games of others are not taken for these.
        total: how many games there will be.
        noun: what they are called, in the plural.
    """

    def __init__(self, out: Path, arguments: Mapping[str, Any], total: int, noun: str) -> None:
        super().__init__(out / PLAYED, arguments, f"{noun} that were played", total)
        self._games: dict[str, Game] = {}

    def __enter__(self) -> Played:
        """Read what is there.

        Raises:
            InputError: it cannot be read, or was played with other arguments.
        """
        super().__enter__()
        try:
            for row in self.rows:
                self._games[row["game"]] = Game([Transition(*t) for t in row["transitions"]], row["notes"])
        except (KeyError, TypeError) as error:
            raise self.unreadable(error) from error
        return self

    def __exit__(self, *raised: Any) -> None:
        """Leave no folder without anything in it, either."""
        super().__exit__(*raised)
        with suppress(OSError):  # a collection is in it, or it was never made
            self.path.parent.rmdir()

    def game(self, name: str, play: Callable[[], Game]) -> Game:
        """The game of this name: played now, and kept, unless it was before."""
        if name not in self._games:
            made = play()
            rows = [[getattr(t, field) for field in (*FIELDS, "action")] for t in made.transitions]
            self.add([{"game": name, "transitions": rows, "notes": made.notes}])
            self._games[name] = made
        return self._games[name]
