"""How texts pass through a language model: what a group shares is computed once."""

from swirl_lightning.engine.continuation import Continuation, Scores, SharedPrompts
from swirl_lightning.engine.micro_batches import MicroBatchSizes
from swirl_lightning.engine.plain import PlainTexts
from swirl_lightning.engine.sampling import GREEDY, Sampling

__all__ = [
    "GREEDY",
    "Continuation",
    "MicroBatchSizes",
    "PlainTexts",
    "Sampling",
    "Scores",
    "SharedPrompts",
]
