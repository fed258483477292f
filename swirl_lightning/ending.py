"""What an exception is to the user: an exit code and a line."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import NamedTuple

from swirl_lightning.blame import fault_of, first_line, made_of, refused_by
from swirl_lightning.types import InputError, Stopped

FAILED, INPUT, OURS = 1, 2, 70
LOST = re.compile(r"closed by peer|reset by peer|broken pipe|remote ?error|remote process|timed? ?out", re.IGNORECASE)
GLOO = re.compile(r"^\[/\S+\] | This is typically .*")
NO_MEMORY = re.compile(r"can't allocate memory|not enough memory", re.IGNORECASE)


class Ending(NamedTuple):
    """How a command ends.

    Args:
        code: of the exit: 1 training, or code of the user's own, failed, 2 bad input or environment, 70 an error of
            this package, 128 and a signal's number.
        line: what went wrong, in one line.
        lost: whether it is that another process has gone.
        trace: the part of the traceback that is of use to the user; empty where none is.
    """

    code: int
    line: str
    lost: bool = False
    trace: str = ""


def ending_of(error: BaseException) -> Ending:
    """What an exception that nothing caught means."""
    if isinstance(error, Stopped):
        return Ending(int(error.code or 0), str(error))
    fault = fault_of(error)
    theirs = fault is not None and fault.theirs
    if isinstance(error, OSError) and not theirs:
        return Ending(INPUT, f"error: {error.filename2 or error.filename or 'the system'}: {error.strerror or error}")
    if isinstance(error, FloatingPointError) and not theirs:
        return Ending(FAILED, f"training stopped: {error}")
    if fault is None and (told := _meant_for_users(error)):
        return Ending(INPUT, f"error: {told}")
    if _out_of_memory(error):
        found = f" ({first_line(error)})" if str(error) else ""
        return Ending(
            INPUT, f"error: out of memory{found}; let fewer rows pass together, as with --model.micro_batch=1; "
            "swirl plan says what takes how much",
        )  # fmt: skip
    if _of_a_lightning_callback(error):
        return Ending(INPUT, f"error: trainer.callbacks: {first_line(error)}")
    if _lost(error):
        return Ending(
            FAILED, "training stopped: another process of this run has gone without a word (a kill, a crash, no "
            f"connection: {GLOO.sub('', first_line(error))})", lost=True,
        )  # fmt: skip
    if fault is not None:
        return Ending(FAILED, f"error: code of your own failed: {fault.line}", trace=fault.trace)
    if refused := refused_by(error):
        return Ending(INPUT, f"error: {refused}")
    return Ending(OURS, f"{type(error).__name__}: {first_line(error)}")


def _meant_for_users(error: BaseException) -> InputError | None:
    """The error itself, or the one that jsonargparse wrapped while it built a class; None for any other."""
    return next((found for found in made_of(error, causes_alone=True) if isinstance(found, InputError)), None)


def _out_of_memory(error: BaseException) -> bool:
    """Of a GPU (torch's own kind, which is not imported for this), or of main memory."""
    name = type(error).__name__
    return name in ("OutOfMemoryError", "MemoryError") or (
        isinstance(error, RuntimeError) and bool(NO_MEMORY.search(str(error)))
    )


def _raised_in(error: BaseException, folder: str) -> bool:
    last = traceback.extract_tb(error.__traceback__)[-1:]
    return any(folder in Path(frame.filename).as_posix() for frame in last)


def _of_a_lightning_callback(error: BaseException) -> bool:
    """Whether one of Lightning's callbacks says that it cannot work so: on a metric that is not there, for example."""
    return isinstance(error, RuntimeError) and _raised_in(error, "lightning/pytorch/callbacks")


def _lost(error: BaseException) -> bool:
    """Whether an exchange with the other processes failed for one of them that has gone."""
    of_exchange = isinstance(error, RuntimeError) and _raised_in(error, "torch/distributed")
    return of_exchange and bool(LOST.search(str(error)))
