"""Language models as policies: transformers, peft and bitsandbytes stop here."""

from swirl_lightning.models.base import BaseModel, PretrainedLM, ScratchLM
from swirl_lightning.models.policy import Policy, Scores
from swirl_lightning.models.sampling import GREEDY, Sampling
from swirl_lightning.models.weights import FullWeights, LoraWeights, Weights

__all__ = [
    "GREEDY",
    "BaseModel",
    "FullWeights",
    "LoraWeights",
    "Policy",
    "PretrainedLM",
    "Sampling",
    "ScratchLM",
    "Scores",
    "Weights",
]
