"""Checkpoints that a kill at any moment cannot spoil."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from swirl_lightning.callbacks.running import running
from swirl_lightning.types import check_number


class PhaseCheckpoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` in the run's folder at the start, every so many updates and after every phase.

    A file is written beside its place and then moved there, so that ``last.ckpt`` is always whole.

    Args:
        every_n_updates: updates between two checkpoints within a phase.
        keep_phases: also keep one checkpoint per finished phase, as ``<stage>.ckpt``.
    """

    def __init__(self, every_n_updates: int = 100, keep_phases: bool = False) -> None:
        check_number("PhaseCheckpoint.every_n_updates", every_n_updates, least=1)
        self.every_n_updates = every_n_updates
        self.keep_phases = keep_phases

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: D102
        if trainer.ckpt_path is None:
            self.save(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:  # noqa: D102
        loop, _ = running(trainer, pl_module)
        done = loop.update + 1
        # the phase's last update is saved with the evaluation that follows it
        if done % self.every_n_updates == 0 and done < loop.updates:
            self.save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: D102
        self.save(trainer)
        if self.keep_phases:
            loop, _ = running(trainer, pl_module)
            self._save(trainer, self.path(trainer).with_name(f"{loop.finished.name}.ckpt"))

    @classmethod
    def save(cls, trainer: L.Trainer) -> None:
        """Write the newest checkpoint of the run."""
        cls._save(trainer, cls.path(trainer))

    @staticmethod
    def path(trainer: L.Trainer) -> Path:
        """Where the newest checkpoint of the run lies."""
        return Path(trainer.log_dir or ".") / "checkpoints" / "last.ckpt"

    @staticmethod
    def _save(trainer: L.Trainer, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        try:
            trainer.save_checkpoint(partial)
            if trainer.is_global_zero:
                os.replace(partial, path)
        except OSError:
            partial.unlink(missing_ok=True)  # it may be what fills the disk
            raise
