"""Supervised training of the FWM on the IDM's own labels."""

from __future__ import annotations

from swirl_lightning.modules.learning import Lesson
from swirl_lightning.modules.phases.base import Phase, Run, latent_actions, teach
from swirl_lightning.plan.passes import Pass
from swirl_lightning.plan.run_shape import RunShape
from swirl_lightning.types import Batch


class Bootstrap(Phase):
    """The FWM learns y from (x, z ~ Q(. | x, y)) on the state-only half, with the anchor's share of true labels.

    A baseline of the paper, and a strong one.
    """

    name = "bootstrap"
    learners = ("fwm",)
    anchored = True

    def step(self, run: Run, batch: Batch) -> dict[str, float]:
        """One supervised update of the FWM; the weights of both losses sum to 1."""
        fwm = run.fwm
        codes = [run.codec.encode(t) for t in batch.pairs]
        with run.updates.clock("generation"):
            zs, _ = latent_actions(run, codes)
        prompts = [fwm.prompt(code, z) for code, z in zip(codes, zs, strict=True)]
        share = 1 / (1 + fwm.grpo.anchor)
        lessons = [Lesson(prompts, [code.y for code in codes], share)]
        if fwm.grpo.anchor:
            lessons += fwm.lessons([run.codec.encode(t) for t in batch.labelled], 1 - share)
        with run.updates.clock("update"):
            loss, norm = teach(run, fwm, lessons)
        return {"loss": loss, "grad_norm": norm}

    def passes(self, shape: RunShape, batch_size: int) -> list[Pass]:
        """The IDM's actions, then the FWM on them."""
        return [shape.latent_actions(batch_size), shape.on_labels(shape.fwm, batch_size * (1 + shape.fwm.anchored))]
