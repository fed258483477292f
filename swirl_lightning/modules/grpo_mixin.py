"""What both roles share: rollouts, the GRPO loss on them, and the supervised loss.

Shape letters: P prompts, G samples per prompt, N distinct rows, T completion tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from swirl_lightning.algorithms.grpo import group_advantages, grpo_loss, loss_normalizer
from swirl_lightning.engine import GREEDY, Sampling, Scores
from swirl_lightning.models import Policy
from swirl_lightning.modules.processes import gather, mean_over_processes
from swirl_lightning.types import Ids, InputError, Rollouts


class Experience(NamedTuple):
    """Rollouts with all that the loss needs and no gradient flows through.

    Args:
        rollouts: the groups.
        advantages: one per row. [N]
        ref_logp: log-probs under the reference; None without a KL term. [N, T]
        old_logp: log-probs under the policy that sampled; None while that is the policy itself. [N, T]
        normalizer: what the sum over the batch is divided by.
    """

    rollouts: Rollouts
    advantages: Tensor
    ref_logp: Tensor | None
    old_logp: Tensor | None
    normalizer: float


class Update(NamedTuple):
    """What one pass over the experience measured.

    Args:
        loss: value of the GRPO loss.
        kl: mean over samples of the KL estimate per token, in nats.
        clip_fraction: share of tokens whose ratio was clipped.
        entropy: of the policy, in nats per token.
    """

    loss: float
    kl: float
    clip_fraction: float
    entropy: float


class GRPOMixin:
    """A role that learns by GRPO (arXiv:2402.03300).

    Args:
        learning_rate: peak learning rate of AdamW; a stage of the schedule may set its own.
        group_size: completions sampled per prompt, G.
        beta: weight of the KL to the reference, the policy as its phase began; 0 leaves the term out.
        temperature: of sampling, ratio and KL alike.
        top_p: smallest set of tokens with this probability that is sampled from; 1 samples from all.
        top_k: number of most probable tokens sampled from; 0 samples from all.
        max_new_tokens: longest completion, end token included.
        inner_steps: optimiser steps on one batch of rollouts.
        clip_low: the probability ratio is clipped below at 1 - clip_low.
        clip_high: and above at 1 + clip_high.
        loss: how token terms are averaged: ``grpo`` by completion, ``dr_grpo`` by max_new_tokens (arXiv:2503.20783),
            ``dapo`` and ``bnpo`` by the tokens of the batch (arXiv:2503.14476).
        importance: probability ratio per ``token``, or per ``sequence`` as in GSPO (arXiv:2507.18071).
        advantage_scale: standard deviation that advantages are divided by: of the ``group``, the ``batch``, or none.
        kl: estimator of the KL term, ``k3`` or ``k1``.
        anchor: weight of a supervised loss on labelled transitions beside GRPO; 0 is the paper's plain form. In the
            ``bootstrap`` phase it stands beside the loss on the IDM's labels, and both weights are scaled to sum to 1.
    """

    policy: Policy
    reference: Policy

    def __init__(
        self,
        learning_rate: float = 5e-5,
        group_size: int = 16,
        beta: float = 0.1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_new_tokens: int = 128,
        inner_steps: int = 1,
        clip_low: float = 0.2,
        clip_high: float = 0.2,
        loss: Literal["grpo", "dr_grpo", "dapo", "bnpo"] = "grpo",
        importance: Literal["token", "sequence"] = "token",
        advantage_scale: Literal["group", "batch", "none"] = "group",
        kl: Literal["k1", "k3"] = "k3",
        anchor: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value, fits in (
            ("learning_rate", learning_rate, learning_rate > 0),
            ("group_size (advantages compare completions of one prompt)", group_size, group_size >= 2),
            ("beta", beta, beta >= 0),
            ("temperature", temperature, temperature > 0),
            ("top_p (at most 1)", top_p, 0 < top_p <= 1),
            ("top_k", top_k, top_k >= 0),
            ("max_new_tokens", max_new_tokens, max_new_tokens >= 1),
            ("inner_steps", inner_steps, inner_steps >= 1),
            ("clip_low (below 1)", clip_low, 0 < clip_low < 1),
            ("clip_high", clip_high, clip_high > 0),
            ("anchor", anchor, anchor >= 0),
        ):
            if not fits:
                raise InputError(f"model.{self.role}.{name}: out of range, got {value}")
        self.learning_rate = learning_rate
        self.group_size = group_size
        self.beta = beta
        self.sampling = Sampling(temperature, top_p, top_k)
        self.max_new_tokens = max_new_tokens
        self.inner_steps = inner_steps
        self.clip_low = clip_low
        self.clip_high = clip_high
        self.loss_type: Literal["grpo", "dr_grpo", "dapo", "bnpo"] = loss
        self.importance: Literal["token", "sequence"] = importance
        self.advantage_scale: Literal["group", "batch", "none"] = advantage_scale
        self.kl: Literal["k1", "k3"] = kl
        self.anchor = anchor

    role = "role"

    def rollout(self, prompts: Sequence[Ids], seeds: Sequence[int]) -> Rollouts:
        """A group of completions for each prompt, drawn from the policy."""
        return self.policy.generate(
            prompts, seeds, group_size=self.group_size, max_tokens=self.max_new_tokens, sampling=self.sampling
        )

    def answer(
        self, prompts: Sequence[Ids], seeds: Sequence[int] | None = None, policy: Policy | None = None
    ) -> tuple[list[Ids], Tensor]:
        """One completion of each prompt, drawn with its seed or, without seeds, greedy; and its log-prob. P, [P]"""
        sampling = GREEDY if seeds is None else self.sampling
        rollouts = (policy or self.policy).generate(
            prompts, seeds or [0] * len(prompts), group_size=1, max_tokens=self.max_new_tokens, sampling=sampling
        )
        row_P = rollouts.row_of[:, 0]
        return [rollouts.completions[row] for row in row_P.tolist()], rollouts.logp.sum(1)[row_P]

    def examine(self, prompts: Sequence[Ids], targets: Sequence[Ids]) -> tuple[list[Ids], Scores]:
        """The greedy answer to each prompt, and the log-probs of the right one. P, [P, T]"""
        return self.policy.examine(prompts, targets, self.max_new_tokens)

    @torch.no_grad()
    def experience(self, rollouts: Rollouts, rewards_N: Tensor, ref_prompts: Sequence[Ids]) -> Experience:
        """Advantages, reference and old log-probs of fresh rollouts.

        Args:
            rollouts: the groups.
            rewards_N: reward of each row.
            ref_prompts: what the reference conditions on: the rollouts' prompts, or those of a prior. P entries.
        """
        rewards_PG, first = gather(rewards_N[rollouts.row_of])
        adv_PG = group_advantages(rewards_PG, scale=self.advantage_scale)[first : first + len(rollouts.prompts)]
        adv_N = adv_PG.new_zeros(len(rewards_N)).scatter(0, rollouts.row_of.flatten(), adv_PG.flatten())
        return Experience(
            rollouts=rollouts,
            advantages=adv_N,
            ref_logp=self._logprobs(self.reference, rollouts, ref_prompts) if self.beta else None,
            old_logp=self._logprobs(self.policy, rollouts, rollouts.prompts) if self.inner_steps > 1 else None,
            normalizer=mean_over_processes(
                loss_normalizer(rollouts.mask, rollouts.counts, loss=self.loss_type, max_tokens=self.max_new_tokens),
                rewards_N.device,
            ),
        )

    def accumulate(self, experience: Experience, backward: Callable[[Tensor], None]) -> Update:
        """Add the gradient of the GRPO loss on the experience to the policy's weights, in micro-batches."""
        rollouts = experience.rollouts
        counts_N = rollouts.counts
        tokens = (rollouts.mask * counts_N[:, None]).sum()

        def loss(rows_n: Tensor, scores: Scores) -> tuple[Tensor, Tensor]:
            weight_n, width = counts_N[rows_n], scores.mask.shape[1]
            old_NT, ref_NT = experience.old_logp, experience.ref_logp
            part = grpo_loss(
                scores.logp,
                scores.logp.detach() if old_NT is None else old_NT[rows_n, :width],
                None if ref_NT is None else ref_NT[rows_n, :width],
                experience.advantages[rows_n],
                scores.mask,
                weight_n,
                clip_low=self.clip_low,
                clip_high=self.clip_high,
                beta=self.beta,
                kl=self.kl,
                loss=self.loss_type,
                importance=self.importance,
                normalizer=experience.normalizer,
            )
            share = weight_n.sum() / counts_N.sum()
            assert scores.entropy is not None
            entropy = (scores.entropy * weight_n[:, None]).sum() / tokens
            return part.loss, torch.stack([part.loss.detach(), part.kl * share, part.clip_fraction * share, entropy])

        parts = self.policy.accumulate(
            rollouts.prompts, rollouts.prompt_of, *_sampled(rollouts), loss, backward,
            temperature=self.sampling.temperature, support=rollouts.support, entropy=True,
        )  # fmt: skip
        return Update(*torch.stack(parts).sum(0).tolist())

    def supervise(
        self,
        prompts: Sequence[Ids],
        targets: Sequence[Ids],
        backward: Callable[[Tensor], None],
        weight: float = 1.0,
    ) -> float:
        """Add the gradient of ``weight`` times the supervised loss to the policy's weights. Returns the loss.

        The loss is the negative mean log-prob per token of the targets of all processes, end token included.
        """
        rows = [(*target, self.policy.eos) for target in targets]
        lengths = list(map(len, rows))
        normalizer = mean_over_processes(float(sum(lengths)), self.policy.parameters()[0].device)

        def loss(rows_n: Tensor, scores: Scores) -> tuple[Tensor, float]:
            value = -scores.logp.sum() / normalizer
            return weight * value, float(value.detach())

        return sum(self.policy.accumulate(prompts, torch.arange(len(rows)), rows, lengths, loss, backward))

    def _logprobs(self, policy: Policy, rollouts: Rollouts, prompts: Sequence[Ids]) -> Tensor:
        """Log-probs of the sampled tokens under the distribution that ``policy`` would sample from. [N, T]"""
        return policy.logprobs(
            prompts, rollouts.prompt_of, *_sampled(rollouts),
            temperature=self.sampling.temperature, support=rollouts.support,
        ).logp  # fmt: skip


def _sampled(rollouts: Rollouts) -> tuple[list[Ids], list[int]]:
    """The sampled ids of each row, end token included, and their number."""
    lengths = rollouts.mask.sum(1).tolist()
    return [tuple(ids[:length]) for ids, length in zip(rollouts.ids.tolist(), lengths, strict=True)], lengths


def target_logprobs(policy: Policy, prompts: Sequence[Ids], targets: Sequence[Ids]) -> tuple[Tensor, Tensor]:
    """Log-probs of one target per prompt at temperature 1, end token included, and their mask. Both [N, T]."""
    rows = [(*target, policy.eos) for target in targets]
    scores = policy.logprobs(prompts, torch.arange(len(rows)), rows, list(map(len, rows)))
    return scores.logp, scores.mask
