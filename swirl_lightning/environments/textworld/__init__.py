"""TextWorld (arXiv 1806.11532): text adventures as transitions."""

from typing import TYPE_CHECKING

from swirl_lightning.environments.lazy import on_first_use

if TYPE_CHECKING:
    from swirl_lightning.environments.textworld.datamodule import TextWorldDataModule

__all__ = ["TextWorldDataModule"]
__getattr__ = on_first_use(__name__, "datamodule", __all__)
