"""TextWorld (arXiv 1806.11532): text adventures as transitions."""

from swirl_lightning.environments.textworld.datamodule import TextWorldDataModule

__all__ = ["TextWorldDataModule"]
