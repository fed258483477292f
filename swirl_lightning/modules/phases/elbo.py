"""ELBO maximisation (arXiv:2602.06130, theorem 3.2)."""

from __future__ import annotations

import torch

from swirl_lightning.algorithms.objectives import elbo_bound
from swirl_lightning.modules.learning import Lesson
from swirl_lightning.modules.phases.base import Phase, Run
from swirl_lightning.modules.phases.reinforce import reinforce
from swirl_lightning.plan.passes import Pass
from swirl_lightning.plan.run_shape import RunShape
from swirl_lightning.types import Batch


class ELBO(Phase):
    """The IDM learns to name actions that explain the next state; the frozen FWM says how well they do.

    For each state-only pair (x, y): z_1 .. z_G ~ Q(. | x, y) with the reward log P(y | x, z_g).
    """

    name = "elbo"
    learners = ("idm",)
    anchored = True

    def step(self, run: Run, batch: Batch) -> dict[str, float]:
        """One GRPO update of the IDM, with the supervised loss that the anchor adds."""
        fwm, idm = run.fwm, run.idm
        codes = [run.codec.encode(t) for t in batch.pairs]
        prompts = [idm.prompt(code, code.given) for code in codes]
        ref_prompts = [code.prompts.prior(code.x) for code in codes] if idm.prior == "state" else prompts
        lessons: list[Lesson] = []
        if idm.grpo.anchor:
            lessons = idm.lessons([run.codec.encode(t) for t in batch.labelled], idm.grpo.anchor)
        figures = reinforce(
            run, batch.pairs, codes, prompts, [code.y for code in codes],
            learner=idm, scorer=fwm, ref_prompts=ref_prompts, reward=run.reward, lessons=lessons,
        )  # fmt: skip
        if {"reward_sequence_logp", "sequence_kl"} <= figures.keys():
            logp_y, kl = (torch.tensor([figures[name]]) for name in ("reward_sequence_logp", "sequence_kl"))
            figures["bound"] = float(elbo_bound(logp_y, kl))
        return figures

    def passes(self, shape: RunShape, batch_size: int) -> list[Pass]:
        """The GRPO update of the IDM, with what is shown beside it."""
        return shape.reinforce(shape.idm, shape.fwm, batch_size, batch_size * shape.idm.anchored)
