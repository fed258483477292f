"""MiniGrid (arXiv 2306.13831), a grid world of doors, keys and balls, seen as pictures."""

from typing import TYPE_CHECKING

from swirl_lightning.environments.lazy import on_first_use

if TYPE_CHECKING:
    from swirl_lightning.environments.minigrid.datamodule import MiniGridDataModule

__all__ = ["MiniGridDataModule"]
__getattr__ = on_first_use(__name__, "datamodule", __all__)
