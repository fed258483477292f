"""Rewards: what a completion is worth to the phase's learner."""

from swirl_lightning.rewards.base import Reward, Rewards, ScoringTask, WeightedSum
from swirl_lightning.rewards.likelihood import LikelihoodReward

__all__ = ["LikelihoodReward", "Reward", "Rewards", "ScoringTask", "WeightedSum"]
