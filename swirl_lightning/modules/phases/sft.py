"""The supervised warm-up of both roles."""

from __future__ import annotations

from dataclasses import replace

from swirl_lightning.modules.phases.base import Phase, Run, teach
from swirl_lightning.plan.passes import Pass
from swirl_lightning.plan.run_shape import RunShape
from swirl_lightning.types import Batch


class SFT(Phase):
    """Both roles learn from labelled transitions; the only phase that reads their actions."""

    name = "sft"
    pools = ("labelled",)
    reads_actions = True
    learners = ("fwm", "idm")

    def step(self, run: Run, batch: Batch) -> dict[str, float]:
        """One supervised update of each role."""
        codes = [run.codec.encode(t) for t in batch.pairs]
        figures: dict[str, float] = {}
        with run.updates.clock("update"):
            for role in (run.fwm, run.idm):
                loss, norm = teach(run, role, role.lessons(codes))
                figures |= {f"{role.role}_loss": loss, f"{role.role}_grad_norm": norm}
        return figures

    def passes(self, shape: RunShape, batch_size: int) -> list[Pass]:
        """The labels of each role; both optimisers have moments."""
        return [replace(shape.on_labels(role, batch_size), learners=2) for role in (shape.fwm, shape.idm)]
