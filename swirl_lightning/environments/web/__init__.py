"""Web pages: Mind2Web and MiniWoB++."""

from swirl_lightning.environments.web.datamodule import WebDataModule

__all__ = ["WebDataModule"]
