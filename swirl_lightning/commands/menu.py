"""A list of names to choose from: the commands of ``swirl``, the worlds of ``swirl collect``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

from swirl_lightning.commands.spelling import did_you_mean
from swirl_lightning.types import InputError, say

WIDTH = 100


@dataclass(frozen=True, slots=True)
class Menu:
    """The first word after a program's name is one of these.

    Args:
        prog: the program's name.
        noun: what is chosen.
        about: what the program is for.
        entries: every name and what it does, in a line.
        notes: paragraphs that end the help.
    """

    prog: str
    noun: str
    about: str
    entries: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def choose(self, args: Sequence[str]) -> str:
        """The name that stands first. Where it is ``--help``, print the help and leave.

        Raises:
            InputError: no name stands there, or one that is not in the list.
        """
        first = args[0] if args else None
        if first in ("-h", "--help"):
            say(self.help())
            raise SystemExit(0)
        if first in self.entries:
            return str(first)
        problem = f"expected a {self.noun}"
        if first is not None:
            problem = f"no such {self.noun}: {first}{did_you_mean(first, self.entries)}"
        raise InputError(f"{self.prog}: {problem} ({', '.join(self.entries)})")

    def help(self) -> str:
        """The whole list."""
        width = max(map(len, self.entries)) + 2
        noun = self.noun.upper()
        last = [f"'{self.prog} {noun} --help' shows the options of a {self.noun}.", *self.notes]
        return "\n\n".join(
            [
                f"usage: {self.prog} {noun} [options]",
                fill(self.about, WIDTH),
                "\n".join([f"{self.noun}s:", *(f"  {name:<{width}}{does}" for name, does in self.entries.items())]),
                "\n".join(fill(line, WIDTH) for line in last),
            ]
        )
