"""Physics in text: ScienceWorld and ByteSized32-State-Prediction."""

from swirl_lightning.environments.physics.datamodule import PhysicsDataModule

__all__ = ["PhysicsDataModule"]
