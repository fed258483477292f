"""Language models as policies: one base, named weight sets on it."""

from swirl_lightning.models.base import BaseModel, PretrainedLM, ScratchLM
from swirl_lightning.models.pictures import ScratchPictureLM
from swirl_lightning.models.policy import Policy
from swirl_lightning.models.visual import ChameleonLM, Emu3LM, LiquidLM
from swirl_lightning.models.weights import FullWeights, LoraWeights, Weights

__all__ = [
    "BaseModel",
    "ChameleonLM",
    "Emu3LM",
    "FullWeights",
    "LiquidLM",
    "LoraWeights",
    "Policy",
    "PretrainedLM",
    "ScratchLM",
    "ScratchPictureLM",
    "Weights",
]
