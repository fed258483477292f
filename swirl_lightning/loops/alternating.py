"""The loop that alternates the phases: the one file that imports a private part of Lightning."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
from lightning.pytorch.loops.fit_loop import _FitLoop

from swirl_lightning.modules.schedule import NamedStage, Stage
from swirl_lightning.types import InputError


class AlternatingLoop(_FitLoop):
    """Runs the schedule, one stage per epoch.

    The stage follows from the number of epochs processed, which Lightning saves, so a resumed run continues in the
    right stage. It is not taken from ``trainer.current_epoch``, which can lag by one after a resume. The one state of
    its own is the number of updates of a stage that was ended early.

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
        self._only_evaluation_left = False
        self._ended_at: tuple[int, int] | None = None

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

    @property
    def made(self) -> int:
        """Updates of the running stage that are made; at the start those that a checkpoint holds."""
        epochs: Any = self.epoch_progress
        batches: Any = self.epoch_loop.batch_progress
        return int(batches.current.processed) if epochs.current.started > self._processed else 0

    def end_stage(self) -> None:
        """Make the running update, of which the end is being told, the last one of the stage."""
        self._ended_at = (self.index, self.update + 1)
        self._shorten()
        self.epoch_loop.batch_progress.is_last_batch = True

    def _shorten(self) -> None:
        if self._ended_at is not None and self._ended_at[0] == self.index:
            self.max_batches = self.trainer.val_check_batch = self._ended_at[1]

    def on_save_checkpoint(self) -> dict[str, Any]:
        """What Lightning saves, and the number of the stage that was ended early last, with its updates."""
        return super().on_save_checkpoint() | {"ended_at": self._ended_at}

    def on_load_checkpoint(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        super().on_load_checkpoint(state_dict)
        self._ended_at = state_dict.get("ended_at")

    def setup_data(self) -> None:
        """Tell module and data which stage it is, and ask for its loader, whose length is the number of updates."""
        if self._loaded_index != self.index:
            self._loaded_index = self.index
            self._combined_loader = None
            trainer: Any = self.trainer
            trainer.lightning_module.stage = self.current
            trainer.datamodule.draw = self.current.draw
        super().setup_data()
        self._shorten()

    # ---- resuming from a file that was written at any moment

    def _load_combined_loader_states(self) -> None:
        """The loader goes on after the updates that were made, whatever it had given out."""
        if self._combined_loader is not None:
            for loader in self._combined_loader.flattened:
                loader.load_state_dict({"position": self.made})

    def reset(self) -> None:
        """Make of a checkpoint that may be from any moment one that is from between two updates.

        Lightning's own way takes a stage for ended when its last update is made, without evaluation and end, and loses
        count where a file is from between the start and the end of an update or of a stage.
        """
        if self.restarting:
            loop = self.epoch_loop
            epochs: Any = self.epoch_progress
            batches: Any = loop.batch_progress
            if batches.current.started > batches.current.processed:
                raise InputError(
                    f"--ckpt_path: {self.trainer.ckpt_path} was written in the middle of update "
                    f"{batches.current.processed} of {self.current.name}, when weights may be half changed, expected "
                    "one from between two updates: take checkpoints/last.ckpt of the run's folder (--ckpt_path last)"
                )
            made = self.made
            self._only_evaluation_left = made == self.max_batches
            if batches.current.completed < made and not self._only_evaluation_left:
                loop._batches_that_stepped += 1
            for count in (batches.current, batches.total):
                count.ready = count.started = count.completed = count.processed
            batches.is_last_batch = False
            loop.restarting = made > 0
            if epochs.current.started == self._processed:  # the stage was about to start
                epochs.current.ready = epochs.current.started
                epochs.total.ready = epochs.total.started
                self.restarting = False
        super().reset()

    def advance(self) -> None:
        """Run a stage, or what is left of it after its last update."""
        if not self._only_evaluation_left:
            super().advance()
            return
        self._only_evaluation_left = False
        loop = self.epoch_loop
        loop.restarting = False
        loop.val_loop.batch_progress.reset()
        loop.batch_progress.is_last_batch = True
        assert self._data_fetcher is not None
        loop.on_advance_end(self._data_fetcher)
