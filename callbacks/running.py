"""What a callback works on."""

from __future__ import annotations

import lightning as L

from swirl_lightning.loops import AlternatingLoop
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
