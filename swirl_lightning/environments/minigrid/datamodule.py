"""MiniGrid as it was collected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swirl_lightning.environments.minigrid.room import TILE
from swirl_lightning.environments.tiled import TiledDataModule


class MiniGridDataModule(TiledDataModule):
    """A collection made by ``swirl collect minigrid``. Reading it needs Pillow, not MiniGrid.

    Args:
        path: the folder of the collection.
        kwargs: arguments of ``TransitionDataModule``.
    """

    environment = "minigrid"
    tile = TILE

    def __init__(self, path: Path = Path("worlds/minigrid"), **kwargs: Any) -> None:
        super().__init__(path, **kwargs)
