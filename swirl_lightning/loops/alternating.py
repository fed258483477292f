"""The loop that alternates the phases: the one file that imports a private part of Lightning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import lightning as L
from lightning.pytorch.loops.fit_loop import _FitLoop

from swirl_lightning.types import InputError, Stage


@dataclass(frozen=True, slots=True)
class NamedStage:
    """A stage at its place in the schedule.

    Args:
        name: ``pretrain``, ``warmup``, ``vim-1``, ``elbo-1``, ``vim-2``, ...; unique in a run.
        iteration: 0 before the first iteration, then 1, 2, ...
        stage: what to do.
    """

    name: str
    iteration: int
    stage: Stage


def expand_schedule(warmup: Sequence[Stage], iteration: Sequence[Stage], iterations: int) -> tuple[NamedStage, ...]:
    """The stages of a run in order: the warm-up once, then the iteration as often as asked.

    Raises:
        InputError: if there is nothing to do.
    """
    planned = [(0, stage) for stage in warmup] + [(i + 1, stage) for i in range(iterations) for stage in iteration]
    if not planned:
        raise InputError(
            "trainer: warmup and iteration hold no stage (or iterations is 0), so there is nothing to train"
        )
    seen: dict[str, int] = {}
    stages = []
    for number, stage in planned:
        base = "warmup" if stage.phase == "sft" and number == 0 else stage.phase
        name = f"{base}-{number}" if number else base
        seen[name] = seen.get(name, 0) + 1
        # the same phase twice in an iteration: vim-1, vim-1b
        suffix = "" if seen[name] == 1 else chr(ord("a") + seen[name] - 1)
        stages.append(NamedStage(name + suffix, number, stage))
    return tuple(stages)


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
        """Ask for the stage's own loader, whose length is the number of updates."""
        if self._loaded_index != self.index:
            self._loaded_index = self.index
            self._combined_loader = None
        super().setup_data()
