"""Crafter (arXiv 2109.06780), an open world of woods, water, stones and animals, seen as pictures from above."""

from typing import TYPE_CHECKING

from swirl_lightning.environments.lazy import on_first_use

if TYPE_CHECKING:
    from swirl_lightning.environments.crafter.datamodule import CrafterDataModule

__all__ = ["CrafterDataModule"]
__getattr__ = on_first_use(__name__, "datamodule", __all__)
