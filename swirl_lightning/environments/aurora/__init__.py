"""AURORA-Bench (arXiv 2407.03471): pictures before and after an instruction, in tasks."""

from typing import TYPE_CHECKING

from swirl_lightning.environments.lazy import on_first_use

if TYPE_CHECKING:
    from swirl_lightning.environments.aurora.datamodule import AuroraDataModule

__all__ = ["AuroraDataModule"]
__getattr__ = on_first_use(__name__, "datamodule", __all__)
