"""The update that both RL phases share: sample, reward, advantage, loss, step.

Shape letters: P prompts, G samples per prompt, N distinct rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.modules.learning import Lesson
from swirl_lightning.modules.phases.base import Run
from swirl_lightning.modules.processes import in_any
from swirl_lightning.modules.scoring import scoring_task
from swirl_lightning.rewards.base import LARGEST, Reward, checked
from swirl_lightning.types import Encoded, Ids, Transition


def reinforce(
    run: Run,
    transitions: Sequence[Transition],
    codes: Sequence[Encoded],
    prompts: Sequence[Ids],
    targets: Sequence[Ids],
    *,
    learner: GRPOMixin,
    scorer: GRPOMixin,
    ref_prompts: Sequence[Ids],
    reward: Reward,
    lessons: Sequence[Lesson] = (),
) -> dict[str, float]:
    """Update the learner by GRPO on the frozen scorer's judgement of its completions. Returns the update's figures.

    Args:
        run: of whose seeds and optimisers use is made.
        transitions: P state-only transitions.
        codes: their ids. P
        prompts: what the learner completes. P
        targets: what the scorer is asked for after each completion. P
        learner: the role that learns.
        scorer: the role that judges.
        ref_prompts: what the reference completes in the KL term. P
        reward: what a completion is worth.
        lessons: supervised losses beside the GRPO loss.

    Raises:
        FloatingPointError: a log-prob, a reward or a gradient is not finite, or a reward is too large.
        InputError: the reward returned what is none.
    """
    updates = run.updates
    with updates.clock("generation"):
        rollouts = learner.rollout(prompts, updates.seeds(learner.writes, len(prompts)))
    with updates.clock("scoring"):
        task = scoring_task(rollouts, transitions, codes, targets, learner=learner, scorer=scorer, codec=run.codec)
        rewards = checked(reward(rollouts, task, run.frozen(scorer)), reward, rollouts)
        parts = torch.stack([rewards.total, *rewards.parts.values()])  # as one: processes may differ in their parts
        for name, x in (
            ("log-prob of a sample", rollouts.logp),
            ("reward", rewards.total),
            ("reward part", parts),
        ):
            if in_any(~x.isfinite().all()):
                raise updates.diverged(learner, f"a {name} is not finite")
        if in_any((rewards.total.abs() > LARGEST).any()):
            raise updates.diverged(learner, f"a reward is above {LARGEST:g} in size")
        experience = learner.experience(rollouts, rewards.total, ref_prompts)
    sequence_kl = 0.0
    for step in range(learner.grpo.inner_steps):
        with updates.clock("update"):
            updates.zero_grad(learner)
            update = learner.reinforce(experience, lessons)
            loss = update.loss + update.supervised
            sequence_kl = sequence_kl if step else update.sequence_kl  # as the policy sampled
            grad_norm = updates.step(learner, loss)
    weight_N = rollouts.counts / rollouts.counts.sum()
    return {
        **_of_rewards(experience.rewards[rollouts.row_of], learner.grpo.min_spread),
        **_of_completions(rollouts, weight_N),
        "loss": loss,
        "kl": update.kl,
        "clip_fraction": update.clip_fraction,
        "entropy": update.entropy,
        "grad_norm": grad_norm,
        **{f"reward_{name}": float((part * weight_N).sum()) for name, part in rewards.parts.items()},
        **({} if experience.ref_logp is None else {"sequence_kl": sequence_kl}),
    }


def _of_rewards(rewards_PG: Tensor, min_spread: float) -> dict[str, float]:
    """What lies below ``min_spread`` is counted with what has no variance: neither tells good from bad."""
    std_P = rewards_PG.std(dim=1)
    return {
        "reward": float(rewards_PG.mean()),
        "reward_std": float(std_P.mean()),
        "zero_variance_groups": float((std_P <= min_spread).float().mean()),
    }


def _of_completions(rollouts: Rollouts, weight_N: Tensor) -> dict[str, float]:
    return {
        "unique_share": len(rollouts.completions) / rollouts.row_of.numel(),
        "completion_length": float((rollouts.mask.sum(1) * weight_N).sum()),
        "truncated_share": float((~rollouts.finished * weight_N).sum()),
    }
