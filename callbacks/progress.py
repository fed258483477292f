"""One line of progress: phase, iteration, update of total, reward, time left."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar

from swirl_lightning.callbacks.running import running
from swirl_lightning.types import check_number

SHOWN = ("reward", "kl", "loss", "fwm_loss", "idm_loss")


class PhaseProgress(TQDMProgressBar):
    """A bar per phase, which moves by the clock: slow updates show at once, quick ones not more often than one can see.

    Args:
        seconds: between two refreshes.
    """

    def __init__(self, seconds: float = 0.5) -> None:
        super().__init__(refresh_rate=1, leave=True)
        check_number("PhaseProgress.seconds", seconds, least=0)
        self.seconds = seconds
        self._refreshed = 0.0
        self._figures: dict[str, float] = {}

    def on_train_start(self, trainer: L.Trainer, *args: Any) -> None:
        """A run that is resumed in the middle of a phase skips ``on_train_epoch_start``, where a bar gets its total."""
        loop, _ = running(trainer, trainer.lightning_module)
        if loop.restarted_mid_epoch:
            self.on_train_epoch_start(trainer)
            self.train_progress_bar.initial = self.train_progress_bar.n = loop.update + 1  # for the time left
        else:
            super().on_train_start(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, *args: Any) -> None:
        """Name the phase in place of an epoch number."""
        super().on_train_epoch_start(trainer, *args)
        loop, _ = running(trainer, trainer.lightning_module)
        last = loop.schedule[-1].iteration
        iteration = f" (iteration {loop.current.iteration} of {last})" if loop.current.iteration else ""
        self.train_progress_bar.set_description(f"{loop.current.name}{iteration}")
        self._figures = {}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the update if it is time, or the last of its phase."""
        self._figures = outputs["metrics"]
        now = time.monotonic()
        if now - self._refreshed >= self.seconds or batch_idx + 1 == self.train_progress_bar.total:
            self._refreshed = now
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The figures worth a glance: reward and KL of a phase, or its loss."""
        return {name: f"{float(self._figures[name]):.3f}" for name in SHOWN if name in self._figures}
