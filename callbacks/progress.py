"""One line of progress: phase, iteration, update of total, reward, time left."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar

from swirl_lightning.callbacks.running import running


class PhaseProgress(TQDMProgressBar):
    """A bar per phase.

    Args:
        refresh_rate: updates between two refreshes; 0 turns the bar off.
    """

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate=refresh_rate, leave=True)

    def on_train_epoch_start(self, trainer: L.Trainer, *args: Any) -> None:
        """Name the phase in place of an epoch number."""
        super().on_train_epoch_start(trainer, *args)
        loop, _ = running(trainer, trainer.lightning_module)
        last = loop.schedule[-1].iteration
        iteration = f" (iteration {loop.current.iteration} of {last})" if loop.current.iteration else ""
        self.train_progress_bar.set_description(f"{loop.current.name}{iteration}")

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The figures worth a glance: reward and KL of a phase, or its loss."""
        shown: dict[str, int | str | float | dict[str, float]] = {}
        loop, _ = running(trainer, pl_module)
        for key, value in trainer.logged_metrics.items():
            phase, _, name = key.partition("/")
            if phase == loop.current.phase.name and name in ("reward", "kl", "loss", "fwm_loss", "idm_loss"):
                shown[name] = f"{float(value):.3f}"
        return shown
