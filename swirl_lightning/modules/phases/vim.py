"""Variational information maximisation (arXiv:2602.06130, theorem 3.1)."""

from __future__ import annotations

import torch

from swirl_lightning.algorithms.objectives import information_bound
from swirl_lightning.modules.learning import Lesson
from swirl_lightning.modules.phases.base import Phase, Run, latent_actions
from swirl_lightning.modules.phases.reinforce import reinforce
from swirl_lightning.plan.passes import Pass
from swirl_lightning.plan.run_shape import RunShape
from swirl_lightning.types import Batch


class VIM(Phase):
    """The FWM learns to write next states that show their action; the frozen IDM says how well they do.

    For each state-only pair (x, y): z ~ Q(. | x, y), then y_1 .. y_G ~ P(. | x, z) with the reward log Q(z | x, y_g).
    """

    name = "vim"
    learners = ("fwm",)
    anchored = True

    def step(self, run: Run, batch: Batch) -> dict[str, float]:
        """One GRPO update of the FWM, with the supervised losses that ``bootstrap`` and the anchor add."""
        fwm, idm = run.fwm, run.idm
        codes = [run.codec.encode(t) for t in batch.pairs]
        with run.updates.clock("generation"):
            zs, logq_P = latent_actions(run, codes)
        prompts = [fwm.prompt(code, z) for code, z in zip(codes, zs, strict=True)]
        lessons = []
        if run.bootstrap:
            lessons += [Lesson(prompts, [code.y for code in codes], run.bootstrap)]
        if fwm.grpo.anchor:
            lessons += fwm.lessons([run.codec.encode(t) for t in batch.labelled], fwm.grpo.anchor)
        figures = reinforce(
            run, batch.pairs, codes, prompts, zs,
            learner=fwm, scorer=idm, ref_prompts=prompts, reward=run.vim_reward or run.reward, lessons=lessons,
        )  # fmt: skip
        # -log Q(z | x, y) estimates H(Z | X, Y) <= H(Z | X): looser than the theorem's bound, but one that can be had
        if "reward_sequence_logp" in figures:
            logq = torch.tensor(figures["reward_sequence_logp"])
            figures["bound"] = float(information_bound(logq, -logq_P.mean()))
        return figures

    def passes(self, shape: RunShape, batch_size: int) -> list[Pass]:
        """The IDM's actions, and the GRPO update of the FWM with what is shown beside it."""
        shown = batch_size * (shape.bootstrap + shape.fwm.anchored)
        return [shape.latent_actions(batch_size), *shape.reinforce(shape.fwm, shape.idm, batch_size, shown)]
