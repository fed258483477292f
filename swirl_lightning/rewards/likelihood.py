"""The reward of the method: the other role's frozen log-probability."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal

import torch

from swirl_lightning.algorithms.objectives import sequence_reward
from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.models import Policy
from swirl_lightning.rewards.base import Rewards, ScoringTask
from swirl_lightning.types import check_number_or_null

NO_ANSWER = -10.0  # nats per token, the floor of the authors' release


class LikelihoodReward:
    """log Q(z | x, y_k) in the VIM phase, log P(y | x, z_k) in the ELBO phase (arXiv:2602.06130, section 3).

    Args:
        normalize: ``mean`` log-probability per token, as the authors' release, or the ``sum`` of the theorems.
        floor: lowest reward; null does not clamp. A completion that is no answer at all gets it (without a floor: -10
            nats per token): one without its end token, or an edit that does not apply to the state.
        invalid: what a completion that is no answer gets: the ``floor``, or the ``worst`` reward of the answers to the
            same prompt, if there are any. Beside one at the floor, all answers of a small group look alike.
        precision: what a half-precision base computes log-probs in: ``float32``, whose rounding is no advantage, or its
            ``own``, three times as fast on a CPU. Then set ``grpo.min_spread`` well above the rounding, which is 0.002
            nats per token for SmolLM2-135M in bfloat16 (docs/engine.md).
    """

    def __init__(
        self,
        normalize: Literal["mean", "sum"] = "mean",
        floor: float | None = -10.0,
        precision: Literal["float32", "own"] = "float32",
        invalid: Literal["floor", "worst"] = "floor",
    ) -> None:
        self.normalize: Literal["mean", "sum"] = normalize
        self.precision: Literal["float32", "own"] = precision
        self.invalid: Literal["floor", "worst"] = invalid
        check_number_or_null("model.reward.floor", floor)
        self.floor = floor

    @torch.no_grad()
    def __call__(self, rollouts: Rollouts, task: ScoringTask, scorer: Policy) -> Rewards:  # noqa: D102
        with scorer.weights.scoring_precision() if self.precision == "float32" else nullcontext():
            scores = scorer.logprobs(task.prompts, rollouts.prompt_of, task.rows, task.scored)
        total_N = sequence_reward(scores.logp, scores.mask, normalize=self.normalize, floor=self.floor)
        lengths_N = torch.tensor(task.scored, device=total_N.device) if self.normalize == "sum" else 1
        lowest_N = total_N.new_full(total_N.shape, NO_ANSWER) * lengths_N if self.floor is None else self.floor
        readable = [text is not None for text in task.texts]
        answered_N = rollouts.finished & torch.tensor(readable, device=total_N.device)
        if self.invalid == "worst":
            prompt_N = rollouts.prompt_of.to(total_N.device)
            worst_P = total_N.new_full((len(task.prompts),), torch.inf)
            worst_N = worst_P.scatter_reduce(0, prompt_N[answered_N], total_N[answered_N], "amin")[prompt_N]
            lowest_N = torch.where(worst_N.isfinite(), worst_N, lowest_N)
        total_N = torch.where(answered_N, total_N, lowest_N)
        return Rewards(total_N, {"sequence_logp": scores.logp.sum(1)})
