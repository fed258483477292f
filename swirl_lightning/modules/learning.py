"""What a role learns from, and the losses of it.

Shape letters: P prompts, N distinct rows, T completion tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from swirl_lightning.algorithms.grpo import AdvantageScale, Importance, LossKind, grpo_loss
from swirl_lightning.algorithms.objectives import kl_estimate, row_sum
from swirl_lightning.engine import Scores
from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.types import Answer, Ids, InputError, check_number


@dataclass(frozen=True)
class GRPOOptions:
    """How a role learns by GRPO (arXiv:2402.03300).

    Args:
        group_size: completions sampled per prompt, G.
        beta: weight of the KL to the reference, the policy as its phase began; 0 leaves the term out.
        kl: where that term stands: in the ``loss``, by the estimator k3 per token, as in GRPO; or in the ``reward`` of
            each completion, minus beta times its whole log-ratio to the reference. At beta 1, with the sum of log-probs
            as reward, the latter has the gradient of theorem 3.2, which k3 has not.
        inner_steps: optimiser steps on one batch of rollouts.
        clip_low: the probability ratio is clipped below at 1 - clip_low.
        clip_high: and above at 1 + clip_high.
        loss: how token terms are averaged: ``grpo`` by completion, ``dr_grpo`` by max_new_tokens (arXiv:2503.20783),
            ``dapo`` by the tokens of the batch (arXiv:2503.14476).
        importance: probability ratio per ``token``, or per ``sequence`` as in GSPO (arXiv:2507.18071).
        advantage_scale: standard deviation that advantages are divided by: of the ``group``, the ``batch``, or none.
        min_spread: smallest standard deviation that advantages are divided by, in the reward's unit (nats per token of
            the method's reward); 0 divides by whatever the spread is, rounding included.
        anchor: weight of a supervised loss on labelled transitions beside GRPO; 0 is the paper's plain form. In the
            ``bootstrap`` phase it stands beside the loss on the IDM's labels, and both weights are scaled to sum to 1.
    """

    group_size: int = 16
    beta: float = 0.1
    kl: Literal["loss", "reward"] = "loss"
    inner_steps: int = 1
    clip_low: float = 0.2
    clip_high: float = 0.2
    loss: LossKind = "grpo"
    importance: Importance = "token"
    advantage_scale: AdvantageScale = "group"
    min_spread: float = 0.0
    anchor: float = 0.0

    def check(self, key: str) -> None:
        """Refuse numbers that are out of their range.

        Args:
            key: of the options, for the message: that of their role.
        """
        check_number(f"{key}.group_size (advantages compare completions of one prompt)", self.group_size, least=2)
        check_number(f"{key}.beta", self.beta, least=0)
        if self.kl not in ("loss", "reward"):
            raise InputError(f"{key}.kl: found {self.kl!r}, expected loss or reward")
        check_number(f"{key}.inner_steps", self.inner_steps, least=1)
        check_number(f"{key}.clip_low", self.clip_low, above=0, below=1)
        check_number(f"{key}.clip_high", self.clip_high, above=0)
        check_number(f"{key}.min_spread", self.min_spread, least=0)
        check_number(f"{key}.anchor", self.anchor, least=0)


class Experience(NamedTuple):
    """Rollouts with all that the loss needs and no gradient flows through.

    Args:
        rollouts: the groups.
        rewards: what is maximised, one per row, with the KL term where it stands there. [N]
        advantages: one per row. [N]
        ref_logp: log-probs under the reference, at temperature 1 with every token allowed; None without a KL term.
            [N, T]
        old_logp: log-probs under the policy that sampled, as it samples; None while that is the policy itself. [N, T]
        normalizer: what the sum over the batch is divided by.
        tokens: sampled tokens; like the normaliser, the mean over the processes.
    """

    rollouts: Rollouts
    rewards: Tensor
    advantages: Tensor
    ref_logp: Tensor | None
    old_logp: Tensor | None
    normalizer: float
    tokens: float


class Update(NamedTuple):
    """What one pass over the experience measured.

    Args:
        loss: value of the GRPO loss.
        kl: mean over samples of the KL estimate per token, in nats, at temperature 1 with every token allowed.
        clip_fraction: share of tokens whose ratio was clipped.
        entropy: of the policy, in nats per token, at temperature 1 with every token allowed.
        sequence_kl: KL of whole completions to the reference, in nats, as above; 0 without a reference.
        supervised: weighted supervised losses beside the GRPO loss.
    """

    loss: float
    kl: float
    clip_fraction: float
    entropy: float
    sequence_kl: float
    supervised: float = 0.0


class Lesson(NamedTuple):
    """Targets that a role is shown.

    Args:
        prompts: N prompts as ids.
        targets: what completes them, without the end token.
        weight: of the supervised loss on them.
        answer: what they are, where that is not what the role writes.
    """

    prompts: Sequence[Ids]
    targets: Sequence[Ids]
    weight: float = 1.0
    answer: Answer | None = None


@dataclass(frozen=True)
class GRPOObjective:
    """The GRPO loss of some rows of the experience, as :meth:`Policy.accumulate` asks for it."""

    experience: Experience
    options: GRPOOptions

    def __call__(self, rows_n: Tensor, scores: Scores) -> tuple[Tensor, Tensor]:
        """The rows' share of the loss, and of the first five figures of :class:`Update`. [5]"""
        rollouts, options = self.experience.rollouts, self.options
        counts_N = rollouts.counts
        weight_n, width = counts_N[rows_n], scores.mask.shape[1]
        old_NT, ref_NT = self.experience.old_logp, self.experience.ref_logp
        assert scores.plain_logp is not None
        assert scores.entropy is not None
        part = grpo_loss(
            scores.logp,
            scores.logp.detach() if old_NT is None else old_NT[rows_n, :width],
            None if ref_NT is None else ref_NT[rows_n, :width],
            self.experience.advantages[rows_n],
            scores.mask,
            weight_n,
            clip_low=options.clip_low,
            clip_high=options.clip_high,
            beta=options.beta if options.kl == "loss" else 0.0,
            loss=options.loss,
            importance=options.importance,
            plain_logp_NT=None if scores.plain_logp is scores.logp else scores.plain_logp,
            normalizer=self.experience.normalizer,
        )
        share = weight_n.sum() / counts_N.sum()
        entropy = (scores.entropy * weight_n[:, None]).sum() / self.experience.tokens
        whole_kl = torch.zeros_like(entropy)
        if ref_NT is not None:
            kl_n = row_sum(kl_estimate(scores.plain_logp.detach(), ref_NT[rows_n, :width], "k1"), scores.mask)
            whole_kl = (kl_n * weight_n).sum() / counts_N.sum()
        figures = (part.loss.detach(), part.kl * share, part.clip_fraction * share, entropy, whole_kl)
        return part.loss, torch.stack(figures)


class Shown(NamedTuple):
    """Lessons as rows behind their prompts, with those of the rollouts that they stand beside.

    Args:
        prompts: P prompts as ids.
        prompt_of: prompt of each row. N
        rows: the targets, with what ends them. N
        weights: what the log-probs of each row count. [N]
        answer: what the targets are; None: what the role writes.
    """

    prompts: Sequence[Ids]
    prompt_of: list[int]
    rows: list[Ids]
    weights: Tensor
    answer: Answer | None


@dataclass(frozen=True)
class SupervisedObjective:
    """Minus the weighted sum of the log-probs of all rows. [N]"""

    weights: Tensor

    def __call__(self, rows_n: Tensor, scores: Scores) -> tuple[Tensor, float]:
        """The rows' share of the loss, twice."""
        value = -(self.weights.to(scores.logp)[rows_n] * scores.logp.sum(1)).sum()
        return value, float(value.detach())


@dataclass(frozen=True)
class JointObjective:
    """The GRPO loss of the experience's rows, and what is shown by those behind them, in one pass of the model."""

    sampled: GRPOObjective
    shown: SupervisedObjective

    def __call__(self, rows_n: Tensor, scores: Scores) -> tuple[Tensor, Tensor]:
        """The rows' share of both losses, and of the figures of :class:`Update`. [6]"""
        N, width = self.sampled.experience.rollouts.mask.shape
        own, others = rows_n < N, rows_n >= N
        loss, figures = scores.logp.new_zeros(()), scores.logp.new_zeros(6)
        if own.any():
            loss, figures[:5] = self.sampled(rows_n[own], scores.of(own, width))
        if others.any():
            value, shown = self.shown(rows_n[others] - N, scores.of(others))
            loss, figures[-1] = loss + value, shown
        return loss, figures
