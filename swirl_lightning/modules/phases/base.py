"""What a phase is, and what it finds of the run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from swirl_lightning.environments.splits import Split
from swirl_lightning.models import Policy, Weights
from swirl_lightning.models.optimizers import forget
from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.modules.learning import Lesson
from swirl_lightning.modules.updates import Updates
from swirl_lightning.modules.world_model import WorldModel
from swirl_lightning.plan.passes import Pass
from swirl_lightning.plan.run_shape import RunShape
from swirl_lightning.rewards import Reward
from swirl_lightning.types import Batch, Encoded, Ids, Role


class Run(WorldModel, Protocol):
    """What a phase works with; :class:`swirl_lightning.modules.SWIRL` is one.

    Args:
        weights: the weight sets of both roles and of the reference.
        updates: optimiser steps, seeds and clocks.
        reward: how the frozen role judges the learner's completions.
        vim_reward: another one for the VIM phase, or None.
        latent: whether the IDM's actions are drawn or its most probable ones.
        bootstrap: weight of the supervised loss on the IDM's actions in the VIM phase.
    """

    weights: Weights
    updates: Updates
    reward: Reward
    vim_reward: Reward | None
    latent: Literal["sample", "greedy"]
    bootstrap: float

    def frozen(self, role: GRPOMixin) -> Policy:
        """The policy of a role that does not learn, as it stood when the phase began."""
        ...


class Phase(ABC):
    """One way of training, of which a stage of the schedule is a number of updates.

    A new one is a class in a file of its own and a line in :data:`swirl_lightning.modules.phases.PHASES`; from another
    package it is named by its path, ``phase: my_package.MyPhase``. A phase keeps nothing between updates.
    """

    name: ClassVar[str]
    """What the schedule calls it."""

    pools: ClassVar[tuple[Split, ...]] = ("state_only",)
    """The splits that its transitions are drawn from."""

    reads_actions: ClassVar[bool] = False
    """Whether the transitions keep their actions; else none reaches the models, whatever the pools hold."""

    anchored: ClassVar[bool] = False
    """Whether labelled transitions come with each batch, for the supervised anchor of the learner."""

    learners: ClassVar[tuple[Role, ...]]
    """The roles whose weights change; the other one is frozen."""

    answers: ClassVar[bool] = True
    """Whether both roles can be evaluated after it."""

    def learning(self, run: Run) -> list[GRPOMixin]:
        """The learners themselves."""
        roles: dict[Role, GRPOMixin] = {"fwm": run.fwm, "idm": run.idm}
        return [roles[name] for name in self.learners]

    def begin(self, run: Run, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Take the reference, the learner as the phase finds it, and forget the moments of the phase before.

        A run that is resumed in the middle of a phase does not come here: its checkpoint holds both.
        """
        for role in self.learning(run):
            run.weights.copy(role.policy.name, role.reference.name)
        for optimizer in optimizers:
            forget(optimizer)

    @abstractmethod
    def step(self, run: Run, batch: Batch) -> dict[str, float]:
        """One update. Returns its figures, which are logged as ``<phase>/<figure>``.

        Raises:
            FloatingPointError: a number is not finite.
        """

    def end(self, run: Run) -> None:  # noqa: B027 - most phases leave nothing to do
        """What is to be done after the last update, before the checkpoint is written."""

    @abstractmethod
    def passes(self, shape: RunShape, batch_size: int) -> list[Pass]:
        """The passes through the model that an update makes, for the memory plan.

        Args:
            shape: sizes of the run.
            batch_size: transitions of a batch.
        """


def teach(run: Run, role: GRPOMixin, lessons: Sequence[Lesson]) -> tuple[float, float]:
    """One supervised update of a role. Returns the weighted sum of the losses, and the norm of the gradient."""
    run.updates.zero_grad(role)
    loss = role.study(lessons)
    return loss, run.updates.step(role, loss)


def latent_actions(run: Run, codes: Sequence[Encoded]) -> tuple[list[Ids], Tensor]:
    """Draw z ~ Q(. | x, y) from the current IDM, with its log-prob. P, [P]"""
    prompts = [run.idm.prompt(code, code.given) for code in codes]
    seeds = run.updates.seeds("latent", len(codes)) if run.latent == "sample" else None
    answers = run.idm.answer(prompts, seeds, policy=run.frozen(run.idm))
    return answers.ids, answers.logp
