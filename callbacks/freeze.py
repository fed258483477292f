"""Who learns and who is frozen changes with the phase."""

from __future__ import annotations

import lightning as L

from swirl_lightning.callbacks.running import running


class PhaseFreeze(L.Callback):
    """Thaw the learners of the phase and freeze the other role, which scores them.

    Never in ``setup``: DDP ignores for good any parameter that is frozen when it wraps the model, and the ranks then
    drift apart without an error.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Also here, because a run resumed in the middle of a phase skips ``on_train_epoch_start``."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: D102
        loop, module = running(trainer, pl_module)
        module.weights.set_trainable(*(role.policy.name for role in loop.current.phase.learning(module)))


class PhaseStart(L.Callback):
    """Let each phase begin and end: what that means stands with the phase."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Tell the module the schedule, before it plans its memory."""
        loop, module = running(trainer, pl_module)
        module.schedule = loop.schedule if stage == "fit" else ()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Not called on a resume in the middle of a phase, whose checkpoint holds what ``begin`` made."""
        loop, module = running(trainer, pl_module)
        loop.current.phase.begin(module, trainer.optimizers)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: D102
        loop, module = running(trainer, pl_module)
        loop.finished.phase.end(module)
