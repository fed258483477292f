"""What a command does when it is told to end, before and after training, which has handlers of its own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from swirl_lightning.types import Stopped

SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let a signal end the command with a word and its exit code, once what it began to write is cleared away."""
    known = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        known = []
    before = {number: signal.getsignal(number) for number in known}
    for number, handler in before.items():
        if handler in (signal.SIG_DFL, signal.default_int_handler):  # and not what nohup ignores
            signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is _stop:  # else one has come, and a second still ends the process
                signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
    stopped = Stopped(signal.Signals(number), "before there was anything to save")
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):  # there an exception can come out anywhere
            os.write(2, f"\n{stopped}\n".encode())
            os._exit(128 + number)
        frame = frame.f_back
    raise stopped
