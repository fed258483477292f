"""Tool calls: MirrorAPI-Bench and any Model Context Protocol server."""

from swirl_lightning.environments.tool.datamodule import ToolDataModule

__all__ = ["ToolDataModule"]
