"""Web pages: Mind2Web and MiniWoB++."""

from typing import TYPE_CHECKING

from swirl_lightning.environments.lazy import on_first_use

if TYPE_CHECKING:
    from swirl_lightning.environments.web.datamodule import WebDataModule

__all__ = ["WebDataModule"]
__getattr__ = on_first_use(__name__, "datamodule", __all__)
