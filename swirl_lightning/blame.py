"""Whose code an exception comes from: a user's own, which a configuration names by its path, or another's."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from types import FrameType, TracebackType
from typing import NamedTuple, ParamSpec, TypeVar

from swirl_lightning.types import InputError, printable

PACKAGE = Path(__file__).parent
LIBRARIES = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
INSTALLED = {"site-packages", "dist-packages"}
P = ParamSpec("P")
R = TypeVar("R")
LONG = 1000
"""Characters of an exception's line that are shown."""


class Fault(NamedTuple):
    """An exception that passed through a user's own code.

    Args:
        line: the class, the file and the line in it that are the innermost of the user's, and the exception.
        trace: the traceback from the user's file on.
        theirs: whether it was raised there, or in a library that is called there; False: in this package.
    """

    line: str
    trace: str
    theirs: bool


def fault_of(error: BaseException) -> Fault | None:
    """What a user's own code has to do with an exception; None where it has nothing, or says itself what is wrong.

    Of an exception and those that it was made of, the first counts that a frame of the user's stands in: what
    jsonargparse says of a class that cannot be made wraps what the class raised.
    """
    for found in (*made_of(error), *_untold(error)):
        trace = found.__traceback__
        while trace is not None and not _is_users(trace.tb_frame.f_code.co_filename):
            trace = trace.tb_next
        if trace is not None or (isinstance(found, SyntaxError) and _is_users(found.filename or "")):
            return None if isinstance(found, InputError) else _fault(found, trace)
    return None


def no_end(function: Callable[P, R]) -> Callable[P, R]:
    """A function below a loop of Lightning's, which would take a StopIteration that leaves it for its end.

    Raises:
        RuntimeError: made of such a StopIteration, as in a generator (PEP 479).
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except StopIteration as error:
            raise RuntimeError(f"{function.__qualname__} raised StopIteration") from error

    return call


def refused_by(error: BaseException) -> str | None:
    """The class of a library that jsonargparse was to make, and what it refuses; None for any other exception."""
    raised = _files(error)
    if error.__cause__ is None or not (raised and _is_in(raised[-1], "jsonargparse")):
        return None
    *_, error = made_of(error, causes_alone=True)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    made = [frame for frame in frames if not _is_in(frame.f_code.co_filename, "jsonargparse")]
    if not made or any(_is_ours(frame.f_code.co_filename) for frame in made):
        return None
    return f"{_class(made[0]) or made[0].f_code.co_qualname}: {first_line(error)}"


def first_line(error: BaseException) -> str:
    """Of what an exception says, as a terminal may have it; the beginning of a very long line."""
    line = printable(next(iter(str(error).strip().splitlines()), ""), kept="")
    return line if len(line) <= LONG else f"{line[:LONG]} ... ({len(line):,} characters)"


def _fault(error: BaseException, trace: TracebackType | None) -> Fault:
    steps = list(traceback.walk_tb(trace))
    own = [(frame, line) for frame, line in steps if _is_users(frame.f_code.co_filename)]
    if own:
        frame, number = own[-1]
        file = frame.f_code.co_filename
        name = next(filter(None, (_class(frame) for frame, _ in reversed(own))), None) or _function(frame)
    else:
        assert isinstance(error, SyntaxError)
        file, number = str(error.filename), error.lineno or 0
        name = Path(file).stem
    last = next((its for its in reversed(_files(error)) if _is_ours(its) or _is_users(its)), file)
    theirs = not _is_ours(last)
    said = ": ".join(filter(None, (type(error).__name__, first_line(error))))
    line = f"{name} ({file}, line {number}): {said}"
    called = "" if theirs else "; it was raised in swirl_lightning, which is called there"
    return Fault(line + called, "".join(traceback.format_exception(type(error), error, trace)), theirs)


def made_of(error: BaseException, *, causes_alone: bool = False) -> Iterator[BaseException]:
    """An exception, its cause or what was handled when it was raised, and so on; these may go round in a circle."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        context = None if causes_alone or found.__suppress_context__ else found.__context__
        found = found.__cause__ or context


def _untold(error: BaseException) -> list[BaseException]:
    """What classes raised that jsonargparse was to make, where it fails to tell it: it cannot where nothing is said."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if _is_in(frame.f_code.co_filename, "jsonargparse") and (held := frame.f_locals.get("exceptions")):
            return [inner for kept in held if isinstance(kept, BaseException) for inner in made_of(kept)]
    return []


def _files(error: BaseException) -> list[str]:
    return [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]


def _class(frame: FrameType) -> str | None:
    """The class whose method a frame is in."""
    first = next(iter(_arguments(frame)), None)
    if first not in ("self", "cls"):
        return None
    of = frame.f_locals.get(first)
    kind = of if isinstance(of, type) else type(of)
    return f"{kind.__module__}.{kind.__qualname__}"


def _arguments(frame: FrameType) -> Iterator[str]:
    return iter(frame.f_code.co_varnames[: frame.f_code.co_argcount])


def _function(frame: FrameType) -> str:
    module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_qualname
    return module if name == "<module>" else f"{module}.{name}"


def _is_users(file: str) -> bool:
    """Whether a file is neither of this package nor installed; what is made while Python runs has no file."""
    path = Path(file)
    if not path.is_absolute() or _is_ours(file) or INSTALLED & set(path.parts):
        return False
    return not any(path.is_relative_to(place) for place in LIBRARIES) and os.path.exists(file)


def _is_ours(file: str) -> bool:
    return Path(file).is_relative_to(PACKAGE)


def _is_in(file: str, library: str) -> bool:
    return library in Path(file).parts
