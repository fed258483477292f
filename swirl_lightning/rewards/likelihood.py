"""The reward of the method: the other role's frozen log-probability."""

from __future__ import annotations

from typing import Literal

import torch

from swirl_lightning.algorithms.objectives import sequence_reward
from swirl_lightning.models import Policy
from swirl_lightning.rewards.base import Rewards, ScoringTask
from swirl_lightning.types import Rollouts

UNFINISHED = -10.0  # nats per token, the floor of the authors' release


class LikelihoodReward:
    """log Q(z | x, y_k) in the VIM phase, log P(y | x, z_k) in the ELBO phase (arXiv:2602.06130, section 3).

    Args:
        normalize: ``mean`` log-probability per token, as the authors' release, or the ``sum`` of the theorems.
        floor: lowest reward; null does not clamp. A completion without its end token gets it (without a floor: -10
            nats per token), since no reader could know where it ends.
    """

    def __init__(self, normalize: Literal["mean", "sum"] = "mean", floor: float | None = -10.0) -> None:
        self.normalize: Literal["mean", "sum"] = normalize
        self.floor = floor

    @torch.no_grad()
    def __call__(self, rollouts: Rollouts, task: ScoringTask, scorer: Policy) -> Rewards:  # noqa: D102
        scores = scorer.logprobs(task.prompts, rollouts.prompt_of, task.rows, task.scored)
        total_N = sequence_reward(scores.logp, scores.mask, normalize=self.normalize, floor=self.floor)
        lengths_N = torch.tensor(task.scored, device=total_N.device) if self.normalize == "sum" else 1
        lowest_N = total_N.new_full(total_N.shape, UNFINISHED) * lengths_N if self.floor is None else self.floor
        total_N = torch.where(rollouts.finished, total_N, lowest_N)
        return Rewards(total_N, {"sequence_logp": scores.logp.sum(1)})
