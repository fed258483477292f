"""What both roles share: rollouts, the GRPO loss on them, and the supervised loss.

Shape letters: P prompts, G samples per prompt, N distinct rows, T completion tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from swirl_lightning.algorithms.grpo import (
    AdvantageScale,
    Importance,
    LossKind,
    group_advantages,
    grpo_loss,
    loss_normalizer,
)
from swirl_lightning.codecs import TextCodec
from swirl_lightning.engine import GREEDY, Sampling, Scores
from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.models import Policy
from swirl_lightning.modules.processes import gather, mean_over_processes
from swirl_lightning.types import Encoded, Ids, InputError, Role, Transition, check_number


@dataclass(frozen=True)
class GRPOOptions:
    """How a role learns by GRPO (arXiv:2402.03300).

    Args:
        group_size: completions sampled per prompt, G.
        beta: weight of the KL to the reference, the policy as its phase began; 0 leaves the term out.
        inner_steps: optimiser steps on one batch of rollouts.
        clip_low: the probability ratio is clipped below at 1 - clip_low.
        clip_high: and above at 1 + clip_high.
        loss: how token terms are averaged: ``grpo`` by completion, ``dr_grpo`` by max_new_tokens (arXiv:2503.20783),
            ``dapo`` by the tokens of the batch (arXiv:2503.14476).
        importance: probability ratio per ``token``, or per ``sequence`` as in GSPO (arXiv:2507.18071).
        advantage_scale: standard deviation that advantages are divided by: of the ``group``, the ``batch``, or none.
        anchor: weight of a supervised loss on labelled transitions beside GRPO; 0 is the paper's plain form. In the
            ``bootstrap`` phase it stands beside the loss on the IDM's labels, and both weights are scaled to sum to 1.
    """

    group_size: int = 16
    beta: float = 0.1
    inner_steps: int = 1
    clip_low: float = 0.2
    clip_high: float = 0.2
    loss: LossKind = "grpo"
    importance: Importance = "token"
    advantage_scale: AdvantageScale = "group"
    anchor: float = 0.0

    def __post_init__(self) -> None:
        check_number("grpo.group_size (advantages compare completions of one prompt)", self.group_size, least=2)
        check_number("grpo.beta", self.beta, least=0)
        check_number("grpo.inner_steps", self.inner_steps, least=1)
        check_number("grpo.clip_low", self.clip_low, above=0, below=1)
        check_number("grpo.clip_high", self.clip_high, above=0)
        check_number("grpo.anchor", self.anchor, least=0)


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


class Lesson(NamedTuple):
    """Targets that a role is shown.

    Args:
        prompts: N prompts as ids.
        targets: what completes them, without the end token.
        weight: of the supervised loss on them.
    """

    prompts: Sequence[Ids]
    targets: Sequence[Ids]
    weight: float = 1.0


@dataclass(frozen=True)
class GRPOObjective:
    """The GRPO loss of some rows of the experience, as :meth:`Policy.accumulate` asks for it."""

    experience: Experience
    options: GRPOOptions

    def __call__(self, rows_n: Tensor, scores: Scores) -> tuple[Tensor, Tensor]:
        """The rows' share of the loss, and of the four figures of :class:`Update`. [4]"""
        rollouts, options = self.experience.rollouts, self.options
        counts_N = rollouts.counts
        tokens = (rollouts.mask * counts_N[:, None]).sum()
        weight_n, width = counts_N[rows_n], scores.mask.shape[1]
        old_NT, ref_NT = self.experience.old_logp, self.experience.ref_logp
        part = grpo_loss(
            scores.logp,
            scores.logp.detach() if old_NT is None else old_NT[rows_n, :width],
            None if ref_NT is None else ref_NT[rows_n, :width],
            self.experience.advantages[rows_n],
            scores.mask,
            weight_n,
            clip_low=options.clip_low,
            clip_high=options.clip_high,
            beta=options.beta,
            loss=options.loss,
            importance=options.importance,
            normalizer=self.experience.normalizer,
        )
        share = weight_n.sum() / counts_N.sum()
        assert scores.entropy is not None
        entropy = (scores.entropy * weight_n[:, None]).sum() / tokens
        return part.loss, torch.stack([part.loss.detach(), part.kl * share, part.clip_fraction * share, entropy])


@dataclass(frozen=True)
class SupervisedObjective:
    """Minus the sum of the targets' log-probs, over ``normalizer`` tokens."""

    normalizer: float
    weight: float

    def __call__(self, rows_n: Tensor, scores: Scores) -> tuple[Tensor, float]:
        """The rows' share of the weighted loss, and of the plain one."""
        value = -scores.logp.sum() / self.normalizer
        return self.weight * value, float(value.detach())


class GRPOMixin(ABC):
    """A role that learns by GRPO (arXiv:2402.03300), from labels, or both at once.

    Args:
        learning_rate: peak learning rate of AdamW; a stage of the schedule may set its own.
        max_new_tokens: longest completion, end token included.
        sampling: the distribution that completions are drawn from; ratio and KL are taken under it.
        grpo: how the role learns in an RL phase.
    """

    role: Role
    writes: str
    """The symbol of what it writes: y or z."""

    policy: Policy
    reference: Policy

    def __init__(
        self,
        learning_rate: float = 5e-5,
        max_new_tokens: int = 128,
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
        grpo: GRPOOptions = GRPOOptions(),
    ) -> None:
        super().__init__()
        check_number(f"model.{self.role}.learning_rate", learning_rate, above=0)
        check_number(f"model.{self.role}.max_new_tokens", max_new_tokens, least=1)
        check_number(f"model.{self.role}.sampling.temperature", sampling.temperature, above=0)
        self.learning_rate = learning_rate
        self.max_new_tokens = max_new_tokens
        self.sampling = sampling
        self.grpo = grpo

    # ---- what a role reads and writes

    @abstractmethod
    def prompt(self, code: Encoded, given: Ids) -> Ids:
        """What the role completes, given what the other role writes: an action, or a next state."""

    @abstractmethod
    def head(self, code: Encoded) -> Ids:
        """What all prompts of the transition begin with, whatever is given."""

    @abstractmethod
    def read(self, codec: TextCodec, transition: Transition, completion: Ids) -> str | None:
        """A completion of the role as text; None where it is malformed."""

    @abstractmethod
    def lessons(self, codes: Sequence[Encoded], weight: float = 1.0) -> list[Lesson]:
        """What labelled transitions teach the role, ``weight`` in all."""

    # ---- sampling

    def rollout(self, prompts: Sequence[Ids], seeds: Sequence[int]) -> Rollouts:
        """A group of completions for each prompt, drawn from the policy."""
        return self.policy.generate(
            prompts, seeds, group_size=self.grpo.group_size, max_tokens=self.max_new_tokens, sampling=self.sampling
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

    # ---- learning

    @torch.no_grad()
    def experience(self, rollouts: Rollouts, rewards_N: Tensor, ref_prompts: Sequence[Ids]) -> Experience:
        """Advantages, reference and old log-probs of fresh rollouts.

        Args:
            rollouts: the groups.
            rewards_N: reward of each row.
            ref_prompts: what the reference conditions on: the rollouts' prompts, or those of a prior. P entries.
        """
        rewards_PG, first = gather(rewards_N[rollouts.row_of])
        adv_PG = group_advantages(rewards_PG, scale=self.grpo.advantage_scale)[first : first + len(rollouts.prompts)]
        adv_N = adv_PG.new_zeros(len(rewards_N)).scatter(0, rollouts.row_of.flatten(), adv_PG.flatten())
        normalizer = loss_normalizer(
            rollouts.mask, rollouts.counts, loss=self.grpo.loss, max_tokens=self.max_new_tokens
        )
        return Experience(
            rollouts=rollouts,
            advantages=adv_N,
            ref_logp=self._logprobs(self.reference, rollouts, ref_prompts) if self.grpo.beta else None,
            old_logp=self._logprobs(self.policy, rollouts, rollouts.prompts) if self.grpo.inner_steps > 1 else None,
            normalizer=mean_over_processes(normalizer, rewards_N.device),
        )

    def reinforce(self, experience: Experience) -> Update:
        """Add the gradient of the GRPO loss on the experience to the policy's weights, in micro-batches."""
        rollouts = experience.rollouts
        parts = self.policy.accumulate(
            rollouts.prompts, rollouts.prompt_of, *_sampled(rollouts), GRPOObjective(experience, self.grpo),
            temperature=self.sampling.temperature, support=rollouts.support, entropy=True,
        )  # fmt: skip
        return Update(*torch.stack(parts).sum(0).tolist())

    def study(self, lesson: Lesson) -> float:
        """Add the gradient of the weighted supervised loss to the policy's weights. Returns the loss without weight.

        The loss is the negative mean log-prob per token of the targets of all processes, end token included.
        """
        rows = [(*target, self.policy.eos) for target in lesson.targets]
        lengths = list(map(len, rows))
        normalizer = mean_over_processes(float(sum(lengths)), self.policy.parameters()[0].device)
        objective = SupervisedObjective(normalizer, lesson.weight)
        return sum(self.policy.accumulate(lesson.prompts, torch.arange(len(rows)), rows, lengths, objective))

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


def actions_of(codes: Sequence[Encoded]) -> list[Ids]:
    """The actions of labelled transitions.

    Raises:
        InputError: one of them has none.
    """
    actions = [code.z for code in codes if code.z is not None]
    if len(actions) < len(codes):
        raise InputError("labelled transitions are needed here, found one without an action")
    return actions


def target_logprobs(policy: Policy, prompts: Sequence[Ids], targets: Sequence[Ids]) -> tuple[Tensor, Tensor]:
    """Log-probs of one target per prompt at temperature 1, end token included, and their mask. Both [N, T]."""
    rows = [(*target, policy.eos) for target in targets]
    scores = policy.logprobs(prompts, torch.arange(len(rows)), rows, list(map(len, rows)))
    return scores.logp, scores.mask
