"""What a run does when it is told to end."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import lightning as L

from swirl_lightning.callbacks.checkpoint import PhaseCheckpoint
from swirl_lightning.callbacks.running import running
from swirl_lightning.types import Stopped

SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")


class StopOnSignal(L.Callback):
    """Ends a run on SIGTERM, SIGINT (Ctrl-C) or SIGHUP after the running update, with a checkpoint; twice ends at once.

    In an evaluation it ends after the running batch, and the run goes on from the checkpoint that is there: between two
    updates of a phase alone does a checkpoint hold all that makes the rest the same. With several processes all end at
    the same update.
    """

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._handlers: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From here on there is something to save. Lightning has set its own handlers just before."""
        if threading.current_thread() is threading.main_thread():
            known = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
            self._handlers = {number: signal.signal(number, self._note) for number in known}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Save and end, unless the evaluation that closes the phase comes next."""
        loop, _ = running(trainer, pl_module)
        if loop.update + 1 < loop.updates and self._told(trainer):
            PhaseCheckpoint.save(trainer)
            self._end(f"after update {loop.update + 1} of {loop.updates} of {loop.current.name}")

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """End; with several processes, which could not all know of it, not before the evaluation does."""
        if trainer.world_size == 1 and self._told(trainer):
            self._end(f"in the evaluation after {running(trainer, pl_module)[0].current.name}")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End after the checkpoint of a phase, unless it was the last one."""
        loop, _ = running(trainer, pl_module)
        if loop.finished is not loop.schedule[-1] and self._told(trainer):
            self._end(f"after {loop.finished.name}")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Put the handlers back that were there; once told to end, a second signal still ends the process at once."""
        if self._received is not None:
            return
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _note(self, number: int, frame: Any) -> None:
        if self._received is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._received = signal.Signals(number)
        os.write(2, f"\n{self._received.name}: ending after the running update; once more ends at once\n".encode())

    def _told(self, trainer: L.Trainer) -> bool:
        told = self._received is not None
        return told if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(told, all=False)

    def _end(self, where: str) -> None:
        raise Stopped(self._received or signal.SIGTERM, where)
