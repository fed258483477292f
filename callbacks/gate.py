"""Keeps a phase only if held-out labels do not say that it did harm."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L

from swirl_lightning.callbacks.running import running
from swirl_lightning.modules.held_out import Rows, mean_and_error
from swirl_lightning.types import InputError

log = logging.getLogger(__name__)
LEAST_ROWS = 20
METRICS = {"exact_match": "exact match", "logp": "log-prob of the truth"}


class PhaseGate(L.Callback):
    """After a phase with one learner, its validation rows decide whether the phase is kept.

    It is, unless exact match or log-prob of the truth has fallen by more than its standard error, both taken row by row
    against the weights with which the phase began. If not, these come back, and the results of the stage are theirs;
    what was measured stands beside them as ``discarded``. Labelled validation rows alone decide, never the test split.
    A fall below the standard error passes unseen, and one phase in six that does neither good nor harm is thrown away:
    more validation rows make both rarer, and with 20, the least, only large falls are seen. The paper has no such gate.
    """

    def __init__(self) -> None:
        self._rows: Rows = {}
        self._results: dict[str, dict[str, float]] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """See that there are rows enough."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if (found := len(data.validation)) < LEAST_ROWS:
            raise InputError(
                f"PhaseGate: found {found} labelled validation rows (data.validation_limit, data.eval_limit), expected "
                f"at least {LEAST_ROWS} to decide by; give more, or leave PhaseGate out of trainer.callbacks"
            )

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare, and put the learner back where it has to be."""
        loop, module = running(trainer, pl_module)
        phase = loop.finished.phase
        if not phase.answers:
            return
        if self._rows and len(phase.learners) == 1:
            changed = ("fwm", "idm") if module.shared_weights else phase.learners
            said, harmed = [], False
            for role in changed:
                for metric, label in METRICS.items():
                    pairs = zip(module.rows[f"{role}/{metric}"], self._rows[f"{role}/{metric}"], strict=True)
                    mean, error = mean_and_error([after - before for after, before in pairs])
                    said.append(f"{role.upper()} {label} {mean:+.3f} ± {error:.3f}")
                    harmed = harmed or mean < -error
            if trainer.is_global_zero:
                verdict = "is not kept: its learner is back where it began" if harmed else "is kept"
                number = len(self._rows["fwm/exact_match"])
                log.warning(f"{loop.finished.name} {verdict} ({', '.join(said)}, {number} validation rows)")
            if harmed:
                module.discard(self._results)
                return
        self._rows, self._results = module.rows, module.results

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return {"rows": self._rows, "results": self._results}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # noqa: D102
        self._rows, self._results = state_dict["rows"], state_dict["results"]
