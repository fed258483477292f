"""Tool calls: MirrorAPI-Bench and any Model Context Protocol server."""

from typing import TYPE_CHECKING

from swirl_lightning.environments.lazy import on_first_use

if TYPE_CHECKING:
    from swirl_lightning.environments.tool.datamodule import ToolDataModule

__all__ = ["ToolDataModule"]
__getattr__ = on_first_use(__name__, "datamodule", __all__)
