"""Which weights get gradients in a phase, and the snapshot that the phase starts from."""

from __future__ import annotations

import lightning as L

from swirl_lightning.loops import AlternatingLoop
from swirl_lightning.models.optimizers import forget
from swirl_lightning.modules import SWIRL


def running(trainer: L.Trainer, module: L.LightningModule) -> tuple[AlternatingLoop, SWIRL]:
    """The loop and the module, checked to be this project's."""
    loop = trainer.fit_loop
    if not (isinstance(module, SWIRL) and isinstance(loop, AlternatingLoop)):
        raise TypeError(
            "swirl_lightning.callbacks work on a SWIRL module under a SwirlTrainer, "
            f"got {type(module).__name__} under {type(trainer).__name__}"
        )
    return loop, module


class PhaseFreeze(L.Callback):
    """Thaw the learner of the phase and freeze the other role, which scores it.

    Never in ``setup``: DDP ignores for good any parameter that is frozen when it wraps the model, and the ranks then
    drift apart without an error.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Also here, because a run resumed in the middle of a phase skips ``on_train_epoch_start``."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: D102
        loop, module = running(trainer, pl_module)
        module.weights.set_trainable(*(role.policy.name for role in module.learners(loop.stage.phase)))


class PhaseStart(L.Callback):
    """Take the reference, the policy as its phase begins, and forget the optimisers' moments of the phase before."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """All processes write to the folder that the first one chose."""
        trainer.run_dir = trainer.strategy.broadcast(trainer.run_dir)  # type: ignore[attr-defined]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Not called on a resume in the middle of a phase: the checkpoint holds reference and moments."""
        loop, module = running(trainer, pl_module)
        for role in module.learners(loop.stage.phase):  # both in the sft phase, which asks no reference
            module.weights.copy(role.policy.name, role.reference.name)
        for optimizer in trainer.optimizers:
            forget(optimizer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Both roles start from the one pretrained model."""
        loop, module = running(trainer, pl_module)
        if loop.finished.stage.phase == "pretrain":
            module.weights.copy(module.fwm.policy.name, module.idm.policy.name)
