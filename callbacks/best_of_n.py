"""What choosing among several next states by the IDM is worth, measured on held-out episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import lightning as L
from torchmetrics import Metric

from swirl_lightning.callbacks.held_out import HeldOutMetrics
from swirl_lightning.metrics import DeltaF1, ExactMatch, TokenF1
from swirl_lightning.modules import SWIRL
from swirl_lightning.modules.best_of_n import Candidates, best_of_n
from swirl_lightning.types import Prediction, Transition, check_number

PREFIX = "fwm/best_of_n/"


class BestOfN(HeldOutMetrics):
    """Best of N by the IDM, at test time: N next states are drawn from the FWM, the IDM's log Q(z | x, y) chooses.

    Adds ``fwm/best_of_n/exact_match``, ``token_f1``, ``delta_f1`` and the environment's own metrics of the FWM, all of
    the chosen next state. Beside them stand the exact match of a single draw, ``first_exact_match``, and of the best
    choice that there could be, ``oracle_exact_match``. Draws are made as in training, with ``model.fwm``'s temperature.

    Args:
        n: next states drawn for each transition.
    """

    def __init__(self, n: int = 8) -> None:
        super().__init__()
        check_number("BestOfN.n", n, least=1)
        self.n = n

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Take the environment's own metrics; several environments are measured together, without."""
        parts = trainer.datamodule.parts()  # type: ignore[attr-defined]
        own = next(iter(parts.values())).metrics() if len(parts) == 1 else {}
        self._own = {name: deepcopy(metric) for name, metric in own.items() if name.startswith("fwm_")}
        self._metrics: dict[str, Any] = {
            "exact_match": ExactMatch(),
            "token_f1": TokenF1(),
            "delta_f1": DeltaF1(),
            "first_exact_match": ExactMatch(),
            "oracle_exact_match": ExactMatch(),
        }

    @property
    def metrics(self) -> Mapping[str, Metric]:  # noqa: D102
        named = self._metrics | {name.removeprefix("fwm_"): metric for name, metric in self._own.items()}
        return {f"{PREFIX}{name}": metric for name, metric in named.items()}

    def count(self, module: SWIRL, transitions: Sequence[Transition]) -> None:
        """Draw, choose and count."""
        self.update(transitions, best_of_n(module, transitions, self.n, module.seed))

    def update(self, transitions: Sequence[Transition], candidates: Sequence[Candidates]) -> None:
        """Count the choices."""
        best = [c.best for c in candidates]
        truth = [t.next_state for t in transitions]
        right = [t if t in c.distinct else None for t, c in zip(truth, candidates, strict=True)]
        self._metrics["exact_match"].update(best, truth)
        self._metrics["token_f1"].update(best, truth)
        self._metrics["delta_f1"].update([t.state for t in transitions], best, truth)
        self._metrics["first_exact_match"].update([c.first for c in candidates], truth)
        self._metrics["oracle_exact_match"].update(right, truth)
        predictions = [Prediction(t.action or "", y) for t, y in zip(transitions, best, strict=True)]
        for metric in self._own.values():
            metric.update(transitions, predictions)
