"""Physics in text: ScienceWorld and ByteSized32-State-Prediction."""

from typing import TYPE_CHECKING

from swirl_lightning.environments.lazy import on_first_use

if TYPE_CHECKING:
    from swirl_lightning.environments.physics.datamodule import PhysicsDataModule

__all__ = ["PhysicsDataModule"]
__getattr__ = on_first_use(__name__, "datamodule", __all__)
