"""Crafter as it was collected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swirl_lightning.codecs import Layout
from swirl_lightning.environments.collection import read_episodes
from swirl_lightning.environments.crafter.world import TILE
from swirl_lightning.environments.files import FilesDataModule
from swirl_lightning.environments.splits import Split
from swirl_lightning.metrics import PredictionMetric
from swirl_lightning.metrics.pictures import picture_metrics
from swirl_lightning.types import InputError, Transition


class CrafterDataModule(FilesDataModule):
    """A collection made by ``swirl collect crafter``. Reading it needs Pillow, not Crafter.

    Args:
        path: the folder of the collection.
        kwargs: arguments of ``TransitionDataModule``.
    """

    environment = "crafter"
    layout = Layout(start="World:\n", action="\nAction:", next_state="\nWhat changes:\n")

    def __init__(self, path: Path = Path("worlds/crafter"), **kwargs: Any) -> None:
        super().__init__(path, (0.4, 0.4, 0.1, 0.1), **kwargs)

    def read(self) -> Mapping[Split, Sequence[Transition]]:
        """The four splits, whole episodes."""
        if self.path.exists():
            return read_episodes(self.path)
        raise InputError(
            f"{self.path}: no such folder, expected a collection; run 'swirl collect crafter --out {self.path}'"
        )

    def metrics(self) -> dict[str, PredictionMetric]:
        """Cells, PSNR and SSIM of the predicted picture."""
        return picture_metrics(TILE)
