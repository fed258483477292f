"""The loop that alternates the phases: the one file that imports a private part of Lightning."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
from lightning.pytorch.loops.fit_loop import _FitLoop

from swirl_lightning.modules.schedule import NamedStage, Stage


class AlternatingLoop(_FitLoop):
    """Runs the schedule, one stage per epoch.

    The stage follows from the number of epochs processed, which Lightning saves, so a resumed run continues in the
    right stage and this class has no state of its own. It is not taken from ``trainer.current_epoch``, which can lag
    by one after a resume.

    Args:
        trainer: the Trainer whose stock fit loop this one replaces.
        schedule: the stages in order.
    """

    def __init__(self, trainer: L.Trainer, schedule: tuple[NamedStage, ...]) -> None:
        stock = trainer.fit_loop
        super().__init__(trainer, min_epochs=None, max_epochs=len(schedule))
        self.epoch_loop = stock.epoch_loop
        self.schedule = schedule
        self._loaded_index = -1

    @property
    def index(self) -> int:
        """Position in the schedule; the last one once all is done."""
        return min(self._processed, len(self.schedule) - 1)

    @property
    def finished(self) -> NamedStage:
        """The stage that ended last; for hooks at the end of a stage, which the loop has counted by then."""
        return self.schedule[self._processed - 1]

    @property
    def _processed(self) -> int:
        return self.epoch_progress.current.processed  # type: ignore[attr-defined]

    @property
    def current(self) -> NamedStage:
        """The stage that is running."""
        return self.schedule[self.index]

    @property
    def stage(self) -> Stage:
        """What the running stage does."""
        return self.current.stage

    @property
    def update(self) -> int:
        """Number of the running update within its stage, from 0."""
        return max(self.epoch_loop.batch_progress.current.ready - 1, 0)

    @property
    def updates(self) -> int:
        """Number of updates of the running stage."""
        return int(self.max_batches) if math.isfinite(self.max_batches) else 0

    def setup_data(self) -> None:
        """Tell module and data which stage it is, and ask for its loader, whose length is the number of updates."""
        if self._loaded_index != self.index:
            self._loaded_index = self.index
            self._combined_loader = None
            trainer: Any = self.trainer
            trainer.lightning_module.stage = self.current
            trainer.datamodule.draw = self.current.draw
        super().setup_data()
