"""Rewards: what a completion is worth to the phase's learner."""

from swirl_lightning.rewards.base import Reward, Rewards, ScoringTask, WeightedSum, scored_in_float32
from swirl_lightning.rewards.likelihood import LikelihoodReward
from swirl_lightning.rewards.next_state import NextStateReward

__all__ = [
    "LikelihoodReward",
    "NextStateReward",
    "Reward",
    "Rewards",
    "ScoringTask",
    "WeightedSum",
    "scored_in_float32",
]
