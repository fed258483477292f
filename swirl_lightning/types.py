"""The values that travel between layers. This module imports nothing of the project."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from signal import Signals
from typing import Literal, NamedTuple, TextIO
from unicodedata import category

Role = Literal["fwm", "idm"]
Symbol = Literal["y", "z"]
"""What a role writes: a next state y, or an action z."""
StateForm = Literal["full", "delta"]
"""How a next state is written: whole, or as a lossless edit of the state."""
Reads = Literal["written", "full", "delta"]
"""How the IDM reads a next state: as the FWM has spelt it, or as a text that is one for all spellings of that state."""
Ids = tuple[int, ...]


class InputError(ValueError):
    """Something the user gave is wrong. The message says where, what was found, what was expected and the cure.

    The command line prints it without a traceback and exits with code 2.
    """


class Stopped(SystemExit):
    """A run was told to end by a signal, and has. Its code is the shell's: 128 and the signal's number.

    Args:
        signal: the signal.
        where: after which update of which stage.
    """

    def __init__(self, signal: Signals, where: str) -> None:
        super().__init__(128 + signal)
        self.signal = signal
        self.where = where

    def __str__(self) -> str:
        return f"stopped by {self.signal.name} {self.where}"


UNPRINTABLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Categories of Unicode that do something to a terminal, or cannot be written: control and format characters, halves of
surrogate pairs, separators of lines."""


def printable(text: str, kept: str = "\n\t") -> str:
    """Text of a stranger's as a terminal may have it: what would do something there stands as Python writes it, \\x1b.

    Args:
        text: what the data, a server or a file says.
        kept: control characters that stay.
    """
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if category(char) in UNPRINTABLE and char not in kept else char
        for char in text
    )


def say(text: object, file: TextIO | None = None) -> None:
    """Print for a terminal, to the standard output or another file; all that a command says goes through here."""
    print(printable(str(text)), file=file, flush=True)


@contextmanager
def writing(path: object) -> Iterator[None]:
    """What is written to the path: an error of the system that names no file names this one."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def check_number(
    key: str,
    value: float,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
) -> None:
    """Refuse a number that is out of its range, and infinity and NaN, which are in none.

    Args:
        key: the option, for the message.
        value: the number.
        least: smallest number allowed.
        above: all smaller numbers and this one are refused.
        most: largest number allowed.
        below: all larger numbers and this one are refused.

    Raises:
        InputError: with the range that was expected; null has none, and a whole number of more than 53 bits is no
            size of anything.
    """
    small = value is not None and (isinstance(value, float) or abs(value) <= 2**53)
    if small and math.isfinite(value) and least <= value <= most and above < value < below:
        return
    bounds = (("at least", least), ("above", above), ("at most", most), ("below", below))
    expected = " and ".join(f"{word} {bound:g}" for word, bound in bounds if math.isfinite(bound))
    found = "null" if value is None else value
    raise InputError(f"{key}: found {found}, expected {expected or 'a finite number'}")


def check_number_or_null(key: str, value: float | None, **bounds: float) -> None:
    """The same for an option that may be left open."""
    if value is not None:
        check_number(key, value, **bounds)


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of an episode: state x, next state y and, where it is known, the action z between them.

    ``environment`` names the kind of world it is from: its prompts, its metrics. A data module sets it.
    """

    episode: str
    step: int
    state: str
    next_state: str
    action: str | None = None
    environment: str = ""

    @property
    def key(self) -> bytes:
        """Stands for all that the transition holds but its action and its environment."""
        row = (self.episode, self.step, self.state, self.next_state)
        return blake2b(repr(row).encode(), digest_size=16).digest()

    @property
    def changes(self) -> bool:
        """Whether the next state differs from the state."""
        return self.state != self.next_state


class Prediction(NamedTuple):
    """What both roles say of one transition: the IDM of (x, y), the FWM of (x, z); None is no valid state."""

    action: str
    next_state: str | None


@dataclass(frozen=True, slots=True)
class Prompts:
    """How x, y and z are laid out for each role; x comes first, so that a group's texts share it.

    Args:
        fwm: ids before x, between x and z, and between z and the y that completes the prompt.
        idm: ids before x, between x and y, and between y and the z that completes the prompt.
    """

    fwm: tuple[Ids, Ids, Ids]
    idm: tuple[Ids, Ids, Ids]

    def forward(self, x: Ids, z: Ids) -> Ids:
        """The FWM's prompt, completed by y."""
        return self.forward_head(x) + z + self.fwm[2]

    def forward_head(self, x: Ids) -> Ids:
        """What every forward prompt of x begins with."""
        return self.fwm[0] + x + self.fwm[1]

    def inverse(self, x: Ids, y: Ids) -> Ids:
        """The IDM's prompt, completed by z."""
        return self.inverse_head(x) + y + self.idm[2]

    def inverse_head(self, x: Ids) -> Ids:
        """What every inverse prompt of x begins with."""
        return self.idm[0] + x + self.idm[1]

    def prior(self, x: Ids) -> Ids:
        """The prompt of the state-only prior P(z | x), completed by z: z stands where the FWM reads it."""
        return self.forward_head(x)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a role may write: ids up to an end token, or a known number of them.

    Everything that is drawn, scored or learned of an answer is under the distribution over the allowed ids alone.

    Args:
        end: the id that ends a completion; None where nothing does.
        allowed: first and last id that may be chosen, and all between; None allows all. An end token is among them.
        length: ids of a completion, where that is known; None where it is not.
        forced: ids that stand at their place in a completion of known length whatever the model finds probable, such
            as the end of each row of a picture. They are written and read, but not chosen, so no log-prob is theirs.

    Raises:
        ValueError: there is no such answer.
    """

    end: int | None = None
    allowed: tuple[int, int] | None = None
    length: int | None = None
    forced: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.length is not None and self.end is not None:
            raise ValueError(f"Answer: found the length {self.length} and the end token {self.end}, expected one")
        if any(place >= (self.length or 0) for place in self.forced):
            raise ValueError(f"Answer: found the forced ids {dict(self.forced)} with the length {self.length}")
        if self.end is not None and not self.allows(self.end):
            raise ValueError(f"Answer: found the end token {self.end}, which is not among the allowed {self.allowed}")

    @property
    def rows(self) -> slice:
        """Those rows of the model's head that are the allowed ids."""
        return slice(None) if self.allowed is None else slice(self.allowed[0], self.allowed[1] + 1)

    @property
    def first(self) -> int:
        """The id of the first of these rows."""
        return 0 if self.allowed is None else self.allowed[0]

    def allows(self, token: int) -> bool:
        """Whether the id may be chosen."""
        return self.allowed is None or self.allowed[0] <= token <= self.allowed[1]

    def steps(self, most: int) -> int:
        """How many ids are written: the known number, else ``most`` at most."""
        return most if self.length is None else self.length

    def chosen(self, length: int) -> int:
        """How many of the first ``length`` ids are chosen."""
        return length - sum(place < length for place in self.forced)

    def last_choice(self, length: int) -> int:
        """How many of the first ``length`` ids come up to the last chosen one, itself included."""
        while length - 1 in self.forced:
            length -= 1
        return length

    def row(self, completion: Ids) -> Ids:
        """A whole completion as it is written, end token included.

        Raises:
            ValueError: it is longer or shorter than it must be, or has an id that cannot stand where it does.
        """
        if self.length not in (None, len(completion)):
            raise ValueError(f"found an answer of {len(completion)} ids, expected {self.length}")
        self.check(completion)
        return completion if self.end is None else (*completion, self.end)

    def check(self, written: Ids) -> None:
        """Refuse ids that cannot stand where they do; ``written`` may be the begin of an answer.

        Raises:
            ValueError: with the first of them.
        """
        if self.allowed is None and not self.forced:
            return
        for place, token in enumerate(written):
            if token != self.forced[place] if place in self.forced else not self.allows(token):
                expected = self.forced.get(place, self.allowed)
                raise ValueError(f"found the id {token} at place {place} of an answer, expected {expected}")

    def written(self, tokens: Sequence[int]) -> Ids:
        """The tokens of an answer up to its end token, which is among them, or all."""
        return tuple(tokens if self.end not in tokens else tokens[: tokens.index(self.end) + 1])

    def is_whole(self, written: Ids) -> bool:
        """Whether an answer has come to its end."""
        return len(written) == self.length if self.end is None else self.end in written[-1:]

    def completion(self, written: Ids) -> Ids:
        """An answer without its end token."""
        return written[:-1] if self.end is not None and self.end in written[-1:] else written


@dataclass(frozen=True, slots=True)
class Encoded:
    """A transition as token ids.

    Args:
        x: the state.
        y: what the FWM writes: the whole next state, or the edit that makes it.
        z: the action; None where it is not known.
        prompts: how they are laid out.
        read: what the IDM reads of the next state, where that is not y.
    """

    x: Ids
    y: Ids
    z: Ids | None
    prompts: Prompts
    read: Ids | None = None

    @property
    def given(self) -> Ids:
        """The next state as the IDM is given it."""
        return self.y if self.read is None else self.read

    @property
    def length(self) -> int:
        """Tokens of prompt and completion together, of either role, with the end token."""
        around = max(sum(map(len, role)) for role in (self.prompts.fwm, self.prompts.idm)) + 1
        return around + len(self.x) + max(len(self.y), len(self.given)) + len(self.z or ())


class Batch:
    """What one update sees. Not a dataclass, so that Lightning passes it on untouched.

    Args:
        pairs: the transitions of the phase; they have an action only where the phase says that it reads actions.
        labelled: labelled transitions for the supervised anchor; empty when no anchor is used.
    """

    __slots__ = ("labelled", "pairs")

    def __init__(self, pairs: list[Transition], labelled: list[Transition]) -> None:
        self.pairs = pairs
        self.labelled = labelled

    def __len__(self) -> int:
        return len(self.pairs)
