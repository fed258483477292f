"""Our side of benchmarks/vs_trl.py: the project's own rollout, reward and GRPO loss, without its trainer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection

import torch
from vs_trl_work import (
    LEARNING_RATE,
    SETS,
    Clock,
    Loaded,
    Update,
    Work,
    base_model,
    fill,
    gradients,
    lora,
    memory,
    settle,
    sizes,
)

from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.engine.shared_prefix import pad
from swirl_lightning.models import LoraWeights, Policy
from swirl_lightning.modules.fwm import ForwardWorldModel
from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.modules.idm import InverseDynamicsModel
from swirl_lightning.modules.learning import GRPOOptions
from swirl_lightning.rewards import LikelihoodReward, ScoringTask
from swirl_lightning.types import Answer, Ids


class Ours:
    """A role with its policy and reference, the frozen scorer, and an optimiser."""

    def __init__(self, work: Work) -> None:
        self.work = work
        model = base_model(work)
        self.device = model.device
        weights = LoraWeights(model, SETS, lora(), gradient_checkpointing=work.gpu)
        for name in SETS:
            fill(work, name, weights.named(name))
        weights.set_trainable("policy")
        role = {"fwm": ForwardWorldModel, "idm": InverseDynamicsModel}[work.role]
        grpo = GRPOOptions(group_size=work.group_size, beta=work.beta)
        self.learner: GRPOMixin = role(max_new_tokens=work.max_tokens, grpo=grpo)
        answer = Answer(None if work.eos < 0 else work.eos)
        self.learner.policy, self.learner.reference, self.scorer = (Policy(weights, name, answer) for name in SETS)
        self.reward = LikelihoodReward(floor=None)
        self.optimizer = torch.optim.AdamW(self.learner.policy.parameters(), LEARNING_RATE, weight_decay=0.0)
        self.clock = Clock(work.gpu)
        self.sizes = sizes(model, weights.named("policy"))

    def update(self, index: int) -> Update:
        """Generation, scoring and one optimiser step."""
        groups = self.work.updates[index]
        prompts = [group.prompt for group in groups]
        self.clock.start()
        with self.clock.part("generation"):
            if index == 0:
                rollouts = given(prompts, self.work.completions, self.device)
            else:
                rollouts = self.learner.rollout(prompts, [1000 * index + p for p in range(len(prompts))])
            # a completion that cannot end counts as an answer
            rollouts = replace(rollouts, finished=torch.ones_like(rollouts.finished))
        with self.clock.part("scoring"):
            rewards_N = self.reward(rollouts, self._task(index, rollouts), self.scorer).total
            learn_from_N = rewards_N
            if index == 0:
                given_PG = torch.tensor(self.work.rewards, device=self.device)
                learn_from_N = torch.zeros_like(rewards_N).scatter(0, rollouts.row_of.flatten(), given_PG.flatten())
            experience = self.learner.experience(rollouts, learn_from_N, prompts)
        loss = self.learner.reinforce(experience).loss
        adapter = self.learner.policy.weights.named("policy")
        gradient = gradients(adapter) if index == 0 else {}
        self.optimizer.step()
        self.optimizer.zero_grad()
        seconds = self.clock.stop()
        return Update(
            seconds=seconds,
            memory=memory(self.work, peak=True),
            tokens=int((rollouts.mask.sum(1) * rollouts.counts).sum()),
            distinct=len(rollouts.completions),
            rewards=rewards_N[rollouts.row_of].flatten().tolist(),
            loss=loss,
            gradient=gradient,
        )

    def profile(self, index: int) -> list[tuple[str, float]]:
        """The operations that take most of an update, with their share of its time."""
        with torch.profiler.profile() as profiler:
            self.update(index)
        events = profiler.key_averages()
        kind = "self_device_time_total" if self.work.gpu else "self_cpu_time_total"
        total = sum(getattr(event, kind) for event in events)
        shares = [(event.key, getattr(event, kind) / total) for event in events]
        return sorted(shares, key=lambda share: -share[1])[:12]

    def _task(self, index: int, rollouts: Rollouts) -> ScoringTask:
        groups = self.work.updates[index]
        rows = list(zip(rollouts.completions, (groups[p] for p in rollouts.prompt_of.tolist()), strict=True))
        return ScoringTask(
            prompts=tuple(group.head for group in groups),
            rows=tuple(completion + group.after + group.target for completion, group in rows),
            scored=tuple(len(group.target) for _, group in rows),
            transitions=(),
            texts=("",) * len(rows),
            writes="y" if self.work.role == "fwm" else "z",
        )


def given(prompts: Sequence[Ids], completions: Sequence[Sequence[Ids]], device: torch.device) -> Rollouts:
    """Rollouts with these completions, which have no end token. Same completions of a prompt become one row."""
    rows = list(dict.fromkeys((p, ids) for p, group in enumerate(completions) for ids in group))
    row_of_PG = [[rows.index((p, ids)) for ids in group] for p, group in enumerate(completions)]
    ids_NT, mask_NT = pad([ids for _, ids in rows], device)
    return Rollouts(
        prompts=tuple(prompts),
        completions=tuple(ids for _, ids in rows),
        prompt_of=torch.tensor([p for p, _ in rows], device=device),
        row_of=torch.tensor(row_of_PG, device=device),
        ids=ids_NT,
        mask=mask_NT,
        finished=mask_NT.any(1),
        logp=torch.zeros(ids_NT.shape, device=device),
    )


def serve(work: Work, connection: Connection) -> None:
    """Answer each ``(method, index of the update)`` until the connection is closed."""
    ours = Ours(work)
    connection.send(Loaded(settle(work), ours.sizes))
    while True:
        method, index = connection.recv()
        connection.send(getattr(ours, method)(index))
