"""ByteMorph-Bench (arXiv 2506.03107): pictures before and after a motion, of five types."""

from typing import TYPE_CHECKING

from swirl_lightning.environments.lazy import on_first_use

if TYPE_CHECKING:
    from swirl_lightning.environments.bytemorph.datamodule import ByteMorphDataModule

__all__ = ["ByteMorphDataModule"]
__getattr__ = on_first_use(__name__, "datamodule", __all__)
