"""Crafter as it was collected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swirl_lightning.environments.crafter.world import TILE
from swirl_lightning.environments.tiled import TiledDataModule


class CrafterDataModule(TiledDataModule):
    """A collection made by ``swirl collect crafter``. Reading it needs Pillow, not Crafter.

    Args:
        path: the folder of the collection.
        kwargs: arguments of ``TransitionDataModule``.
    """

    environment = "crafter"
    tile = TILE

    def __init__(self, path: Path = Path("worlds/crafter"), **kwargs: Any) -> None:
        super().__init__(path, **kwargs)
