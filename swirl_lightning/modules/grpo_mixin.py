"""What both roles share: rollouts, the GRPO loss on them, and the supervised loss.

Shape letters: P prompts, G samples per prompt, N distinct rows, T completion tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from swirl_lightning.algorithms.grpo import group_advantages, loss_normalizer
from swirl_lightning.algorithms.objectives import row_sum
from swirl_lightning.codecs import Codec
from swirl_lightning.engine import GREEDY, Sampling, Scores
from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.models import Policy
from swirl_lightning.modules.learning import (
    Experience,
    GRPOObjective,
    GRPOOptions,
    JointObjective,
    Lesson,
    Shown,
    SupervisedObjective,
    Update,
)
from swirl_lightning.modules.processes import gather, mean_over_processes
from swirl_lightning.plan.run_shape import RoleShape
from swirl_lightning.types import Encoded, Ids, InputError, Role, Symbol, Transition, check_number


class Answers(NamedTuple):
    """One completion of each of P prompts.

    Args:
        ids: the completions, without the end token. P
        logp: log-probability of each under the distribution drawn from, end token included, in nats. [P]
        ended: whether each has an end within ``max_new_tokens``. P
    """

    ids: list[Ids]
    logp: Tensor
    ended: list[bool]


class GRPOMixin(ABC):
    """A role that learns by GRPO (arXiv:2402.03300), from labels, or both at once.

    Args:
        learning_rate: peak learning rate of AdamW; a stage of the schedule may set its own.
        max_new_tokens: longest completion, end token included.
        sampling: the distribution that completions are drawn from; the probability ratio is taken under it, the KL at
            temperature 1 with every token allowed.
        grpo: how the role learns in an RL phase.
    """

    role: Role
    writes: Symbol

    policy: Policy
    reference: Policy

    def __init__(
        self,
        learning_rate: float = 5e-5,
        max_new_tokens: int = 128,
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
        grpo: GRPOOptions = GRPOOptions(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__()
        check_number(f"model.{self.role}.learning_rate", learning_rate, above=0)
        check_number(f"model.{self.role}.max_new_tokens", max_new_tokens, least=1)
        check_number(f"model.{self.role}.sampling.temperature", sampling.temperature, above=0)
        sampling.check(f"model.{self.role}.sampling")
        grpo.check(f"model.{self.role}.grpo")
        self.learning_rate = learning_rate
        self.max_new_tokens = max_new_tokens
        self.sampling = sampling
        self.grpo = grpo

    def shape(self, choices: int | None) -> RoleShape:
        """What of these options, and of the number of ids that it may write, decides how much memory it takes."""
        return RoleShape(
            self.role, self.grpo.group_size, self.max_new_tokens, self.sampling.truncated,
            compared=bool(self.grpo.beta) or self.grpo.inner_steps > 1, anchored=bool(self.grpo.anchor),
            choices=choices, lessons=len(self.lessons(())),
        )  # fmt: skip

    def begin(self, policy: Policy, reference: Policy) -> None:
        """Take the weights that the role learns with, and those of its reference.

        Raises:
            InputError: an answer of known length is longer than ``max_new_tokens``.
        """
        if (length := policy.answer.steps(0)) > self.max_new_tokens:
            raise InputError(
                f"model.{self.role}.max_new_tokens: found {self.max_new_tokens}, expected at least {length}, of which "
                "every answer is made"
            )
        self.policy, self.reference = policy, reference

    # ---- what a role reads and writes

    @abstractmethod
    def prompt(self, code: Encoded, given: Ids) -> Ids:
        """What the role completes, given what the other role writes: an action, or a next state."""

    @abstractmethod
    def head(self, code: Encoded) -> Ids:
        """What all prompts of the transition begin with, whatever is given."""

    @abstractmethod
    def read(self, codec: Codec, transition: Transition, completion: Ids) -> str | None:
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
        self,
        prompts: Sequence[Ids],
        seeds: Sequence[int] | None = None,
        *,
        sampling: Sampling | None = None,
        policy: Policy | None = None,
    ) -> Answers:
        """One completion of each prompt.

        Args:
            prompts: P prompts.
            seeds: P seeds; None decodes greedily.
            sampling: the distribution to draw from; None takes the role's own.
            policy: the weights to ask; None takes the role's own.
        """
        drawn = GREEDY if seeds is None else sampling or self.sampling
        rollouts = (policy or self.policy).generate(
            prompts, seeds or [0] * len(prompts), group_size=1, max_tokens=self.max_new_tokens, sampling=drawn
        )
        row_P = rollouts.row_of[:, 0]
        ids = [rollouts.completions[row] for row in row_P.tolist()]
        return Answers(ids, rollouts.logp.sum(1)[row_P], rollouts.finished[row_P].tolist())

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
        ref_logp_NT = self._reference_logprobs(rollouts, ref_prompts) if self.grpo.beta else None
        if ref_logp_NT is not None and self.grpo.kl == "reward":
            log_ratio_NT = self._plain_logprobs(rollouts) - ref_logp_NT
            rewards_N = rewards_N - self.grpo.beta * row_sum(log_ratio_NT, rollouts.mask)
        rewards_PG, first = gather(rewards_N[rollouts.row_of])
        adv_PG = group_advantages(rewards_PG, scale=self.grpo.advantage_scale, min_spread=self.grpo.min_spread)
        adv_PG = adv_PG[first : first + len(rollouts.prompts)]
        adv_N = adv_PG.new_zeros(len(rewards_N)).scatter(0, rollouts.row_of.flatten(), adv_PG.flatten())
        tokens = float((rollouts.mask * rollouts.counts[:, None]).sum())
        most = self.policy.answer.steps(self.max_new_tokens)
        normalizer = loss_normalizer(rollouts.mask, rollouts.counts, loss=self.grpo.loss, max_tokens=most)
        return Experience(
            rollouts=rollouts,
            rewards=rewards_N,
            advantages=adv_N,
            ref_logp=ref_logp_NT,
            old_logp=self._old_logprobs(rollouts) if self.grpo.inner_steps > 1 else None,
            normalizer=mean_over_processes(normalizer, rewards_N.device),
            tokens=mean_over_processes(tokens, rewards_N.device),
        )

    def reinforce(self, experience: Experience, lessons: Sequence[Lesson] = ()) -> Update:
        """Add the gradients of the GRPO loss and of lessons to the policy's weights, in micro-batches.

        A prompt that rollouts and lessons share passes through the model once.

        Raises:
            ValueError: a lesson's answers are not what the role writes.
        """
        rollouts = experience.rollouts
        (rows, scored), N = rollouts.sampled(), len(rollouts.completions)
        shown = self._shown(lessons, rollouts.prompts)
        if shown.answer is not None:
            raise ValueError("lessons beside rollouts have the answers that the role writes")
        objective = JointObjective(GRPOObjective(experience, self.grpo), SupervisedObjective(shown.weights))
        parts = self.policy.accumulate(
            shown.prompts, torch.tensor([*rollouts.prompt_of.tolist(), *shown.prompt_of]), [*rows, *shown.rows],
            [*scored, *map(len, shown.rows)], objective, temperature=self.sampling.temperature,
            support=rollouts.support, plain=True, shown=range(N, N + len(shown.rows)),
        )  # fmt: skip
        return Update(*torch.stack(parts).sum(0).tolist())

    def study(self, lessons: Sequence[Lesson]) -> float:
        """Add the gradient of weighted supervised losses to the policy's weights. Returns their weighted sum.

        The loss of a lesson is the negative mean log-prob per token of the targets of all processes, end token
        included.
        """
        shown = self._shown(lessons)
        return sum(
            self.policy.accumulate(
                shown.prompts, torch.tensor(shown.prompt_of), shown.rows, list(map(len, shown.rows)),
                SupervisedObjective(shown.weights), shown.answer,
            )
        )  # fmt: skip

    def _shown(self, lessons: Sequence[Lesson], prompts: Sequence[Ids] = ()) -> Shown:
        """The lessons' targets as rows behind ``prompts`` and their own; texts that share nothing more stay apart."""
        answer = lessons[0].answer if lessons else None
        if any(lesson.answer != answer for lesson in lessons):
            raise ValueError("lessons of one update have answers of one kind")
        its, device = answer or self.policy.answer, self.policy.parameters()[0].device
        found, place = list(prompts), {prompt: p for p, prompt in enumerate(prompts)}
        prompt_of, rows, weights = [], [], []
        for lesson in lessons:
            targets = list(map(its.row, lesson.targets))
            normalizer = mean_over_processes(float(sum(its.chosen(len(row)) for row in targets)), device)
            for prompt, row in zip(lesson.prompts, targets, strict=True):
                if prompt not in place:
                    found.append(prompt)
                prompt_of.append(place.get(prompt, len(found) - 1))
                rows.append(row)
                weights.append(lesson.weight / normalizer)
        return Shown(found, prompt_of, rows, torch.tensor(weights), answer)

    def _old_logprobs(self, rollouts: Rollouts) -> Tensor:
        """Log-probs of the sampled tokens under the very distribution that they were drawn from. [N, T]"""
        return self.policy.logprobs(
            rollouts.prompts, rollouts.prompt_of, *rollouts.sampled(),
            temperature=self.sampling.temperature, support=rollouts.support,
        ).logp  # fmt: skip

    def _plain_logprobs(self, rollouts: Rollouts) -> Tensor:
        """Log-probs of the sampled tokens under the policy at temperature 1, with every token allowed. [N, T]"""
        if self.sampling == Sampling():
            return rollouts.logp
        return self.policy.logprobs(rollouts.prompts, rollouts.prompt_of, *rollouts.sampled()).logp

    def _reference_logprobs(self, rollouts: Rollouts, prompts: Sequence[Ids]) -> Tensor:
        """Log-probs of the sampled tokens under the reference at temperature 1, with every token allowed. [N, T]"""
        return self.reference.logprobs(prompts, rollouts.prompt_of, *rollouts.sampled()).logp


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
    rows = list(map(policy.answer.row, targets))
    scores = policy.logprobs(prompts, torch.arange(len(rows)), rows, list(map(len, rows)))
    return scores.logp, scores.mask
