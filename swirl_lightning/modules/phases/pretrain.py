"""Language modelling of states, for a model that is built from scratch."""

from __future__ import annotations

from swirl_lightning.modules.learning import Lesson
from swirl_lightning.modules.phases.base import Phase, Run, teach
from swirl_lightning.plan.passes import Pass
from swirl_lightning.plan.run_shape import RunShape
from swirl_lightning.types import Batch


class Pretrain(Phase):
    """Language modelling of x then y, without actions; stands in for what a pretrained base knows.

    It trains the FWM's weights; when it ends, the IDM starts from the same ones.
    """

    name = "pretrain"
    pools = ("labelled", "state_only")
    learners = ("fwm",)
    answers = False

    def step(self, run: Run, batch: Batch) -> dict[str, float]:
        """One supervised update of the FWM on whole texts."""
        codes = [run.codec.encode(t) for t in batch.pairs]
        first = [code.prompts.idm[0] for code in codes]
        texts = [code.prompts.inverse_head(code.x)[len(p) :] + code.y for p, code in zip(first, codes, strict=True)]
        with run.updates.clock("update"):
            loss, norm = teach(run, run.fwm, [Lesson(first, texts, answer=run.codec.language)])
        return {"loss": loss, "grad_norm": norm}

    def end(self, run: Run) -> None:
        """Both roles start from the one pretrained model."""
        run.weights.copy(run.fwm.policy.name, run.idm.policy.name)

    def passes(self, shape: RunShape, batch_size: int) -> list[Pass]:
        """One text per transition."""
        return [Pass("update", "language modelling", batch_size, 1, 1, shape.max_tokens - 1)]
