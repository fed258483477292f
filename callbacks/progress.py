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
    """A bar per phase. A slow update shows at once, fast ones together.

    Args:
        seconds: least time between two refreshes.
    """

    def __init__(self, seconds: float = 0.5) -> None:
        check_number("PhaseProgress.seconds", seconds, least=0)
        super().__init__(leave=True)
        self.seconds = seconds
        self._refreshed = 0.0
        self._figures: dict[str, float] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A run that goes on within a stage does not come to ``on_train_epoch_start``."""
        if running(trainer, pl_module)[0].made:
            self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open a bar that names the phase, at the updates that are made already; time left is by those made since."""
        loop, _ = running(trainer, pl_module)
        iteration = f" (iteration {loop.current.iteration} of {loop.schedule[-1].iteration})"
        bar = self.train_progress_bar = self.init_train_tqdm()
        bar.set_description(loop.current.name + iteration * bool(loop.current.iteration), refresh=False)
        bar.total = loop.updates
        bar.initial = bar.n = loop.made
        bar.refresh()
        self._figures = {}
        self._refreshed = 0.0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the update's figures."""
        self._figures = outputs["metrics"]
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The figures worth a glance: reward and KL of a phase, or its loss."""
        return {name: f"{value:.3f}" for name, value in self._figures.items() if name in SHOWN}

    def _should_update(self, current: int, total: int) -> bool:
        """By time, where Lightning counts updates."""
        now = time.monotonic()
        due = self.is_enabled and (now - self._refreshed >= self.seconds or current == total)
        if due:
            self._refreshed = now
        return due
