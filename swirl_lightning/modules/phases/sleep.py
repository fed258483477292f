"""The sleep phase of the wake-sleep algorithm (Hinton et al., 1995)."""

from __future__ import annotations

from swirl_lightning.modules.learning import Lesson
from swirl_lightning.modules.phases.base import Phase, Run, teach
from swirl_lightning.modules.processes import in_any
from swirl_lightning.plan.passes import Pass
from swirl_lightning.plan.run_shape import RunShape
from swirl_lightning.types import Batch, Ids


class Sleep(Phase):
    """The IDM learns to name the actions of transitions that the FWM has dreamt.

    For each state-only x: z from the IDM's prior as the phase began, y_hat ~ P(. | x, z) from the frozen FWM, and the
    IDM learns z from (x, y_hat). Whatever z is, it is what led to y_hat. The expected log Q(z | x, y_hat) is the bound
    of theorem 3.1, which the VIM phase climbs in theta; this is its exact gradient in phi. With ``prior: state``, z is
    drawn from P(z | x), and the optimum is the posterior of the FWM; with ``prior: posterior``, z ~ Q(. | x, y), as in
    the VIM phase.
    """

    name = "sleep"
    learners = ("idm",)
    anchored = True

    def step(self, run: Run, batch: Batch) -> dict[str, float]:
        """One supervised update of the IDM; the weights of both losses sum to 1."""
        fwm, idm = run.fwm, run.idm
        codes = [run.codec.encode(t) for t in batch.pairs]
        with run.updates.clock("generation"):
            seeds = run.updates.seeds("latent", len(codes)) if run.latent == "sample" else None
            asked = [code.prompts.prior(code.x) if idm.prior == "state" else idm.prompt(code, code.y) for code in codes]
            actions = idm.answer(asked, seeds, policy=idm.reference)
            prompts = [fwm.prompt(code, z) for code, z in zip(codes, actions.ids, strict=True)]
            dreams = fwm.answer(prompts, run.updates.seeds("dream", len(codes)), policy=run.frozen(fwm))
        for drawn in (actions, dreams):
            if in_any(~drawn.logp.isfinite().all()):
                raise run.updates.diverged(idm, "a log-prob of a sample is not finite")
        pairs = zip(batch.pairs, dreams.ids, strict=True)
        texts = [fwm.read(run.codec, t, y) for t, y in pairs]
        learnt: list[tuple[Ids, Ids]] = []
        for i, (t, code) in enumerate(zip(batch.pairs, codes, strict=True)):
            text = texts[i] if actions.ended[i] and dreams.ended[i] else None
            if text is not None and text != t.state:
                learnt.append((idm.prompt(code, run.codec.target(t, text)), actions.ids[i]))
        share = 1 / (1 + idm.grpo.anchor)
        lessons = [Lesson([prompt for prompt, _ in learnt], [z for _, z in learnt], share)]
        if idm.grpo.anchor:
            lessons += idm.lessons([run.codec.encode(t) for t in batch.labelled], 1 - share)
        with run.updates.clock("update"):
            loss, norm = teach(run, idm, lessons)
        return {"loss": loss, "grad_norm": norm, "valid_share": len(learnt) / len(codes)}

    def passes(self, shape: RunShape, batch_size: int) -> list[Pass]:
        """The IDM's actions, the FWM's next states, then the IDM on them."""
        dreams = Pass("generation", "dreams", batch_size, 1, shape.max_tokens, shape.fwm.max_new_tokens)
        return [shape.latent_actions(batch_size), dreams, shape.on_labels(shape.idm, batch_size)]
