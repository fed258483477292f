"""The base of worlds whose states are pictures that were drawn from tiles."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swirl_lightning.codecs import Layout
from swirl_lightning.environments.collection import read_episodes
from swirl_lightning.environments.files import FilesDataModule
from swirl_lightning.environments.splits import Split
from swirl_lightning.metrics import PredictionMetric
from swirl_lightning.metrics.pictures import picture_metrics
from swirl_lightning.types import InputError, Transition


class TiledDataModule(FilesDataModule):
    """A collection of pictures, made by ``swirl collect`` and the environment's name.

    Args:
        path: the folder of the collection.
        kwargs: arguments of ``TransitionDataModule``.
    """

    layout = Layout(start="World:\n", action="\nAction:", next_state="\nWhat changes:\n")

    def __init__(self, path: Path, **kwargs: Any) -> None:
        super().__init__(path, (0.4, 0.4, 0.1, 0.1), **kwargs)

    @property
    @abstractmethod
    def tile(self) -> int:
        """Pixels of a tile's side."""

    def read(self) -> Mapping[Split, Sequence[Transition]]:
        """The four splits, whole episodes."""
        if self.path.exists():
            return read_episodes(self.path)
        raise InputError(
            f"{self.path}: no such folder, expected a collection; run 'swirl collect {self.environment} --out "
            f"{self.path}'"
        )

    def metrics(self) -> dict[str, PredictionMetric]:
        """Cells, PSNR and SSIM of the predicted picture."""
        return picture_metrics(self.tile)
