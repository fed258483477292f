"""Language models as policies: transformers, peft and bitsandbytes stop here."""

from swirl_lightning.models.base import BaseModel, PretrainedLM, ScratchLM
from swirl_lightning.models.continuation import Continuation, Scores, SharedPrompts
from swirl_lightning.models.micro_batches import MicroBatchSizes
from swirl_lightning.models.plain import PlainTexts
from swirl_lightning.models.policy import Policy
from swirl_lightning.models.sampling import GREEDY, Sampling
from swirl_lightning.models.weights import FullWeights, LoraWeights, Weights

__all__ = [
    "GREEDY",
    "BaseModel",
    "Continuation",
    "FullWeights",
    "LoraWeights",
    "MicroBatchSizes",
    "PlainTexts",
    "Policy",
    "PretrainedLM",
    "Sampling",
    "ScratchLM",
    "Scores",
    "SharedPrompts",
    "Weights",
]
