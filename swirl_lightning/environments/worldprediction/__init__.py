"""WorldPrediction (arXiv 2506.04363): what comes next in a video of somebody at work, and by which plan."""

from typing import TYPE_CHECKING

from swirl_lightning.environments.lazy import on_first_use

if TYPE_CHECKING:
    from swirl_lightning.environments.worldprediction.datamodule import WorldPredictionDataModule

__all__ = ["WorldPredictionDataModule"]
__getattr__ = on_first_use(__name__, "datamodule", __all__)
