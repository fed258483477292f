"""What choosing among several next states by the IDM is worth, measured on held-out episodes."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import lightning as L

from swirl_lightning.callbacks.running import running
from swirl_lightning.metrics import DeltaF1, ExactMatch, TokenF1
from swirl_lightning.modules.best_of_n import Candidates, best_of_n
from swirl_lightning.types import Prediction, Transition, check_number

PREFIX = "fwm/best_of_n/"


class BestOfN(L.Callback):
    """Best of N by the IDM, at test time: N next states are drawn from the FWM, the IDM's log Q(z | x, y) chooses.

    Adds to each evaluation, of the test episodes (under ``swirl validate``: the validation episodes),
    ``fwm/best_of_n/exact_match``, ``token_f1``, ``delta_f1`` and the environment's own metrics of the FWM, all of the
    chosen next state. Beside them stand the exact match of a single draw, ``first_exact_match``, and of the best choice
    that there could be, ``oracle_exact_match``. Draws are made as in training, with ``model.fwm``'s temperature.

    Args:
        n: next states drawn for each transition.
    """

    def __init__(self, n: int = 8) -> None:
        check_number("BestOfN.n", n, least=1)
        self.n = n
        self._values: dict[str, float] = {}

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

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count where the model is: the processes exchange their counts."""
        for metric in [*self._metrics.values(), *self._own.values()]:
            metric.to(pl_module.device)

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Draw, choose and count, in the first of the splits that are evaluated."""
        module = running(trainer, pl_module)[1]
        if batch and dataloader_idx == 0 and module.can_answer:
            self.update(batch, best_of_n(module, batch, self.n, module.seed))

    on_test_batch_end = on_validation_batch_end

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

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the metrics."""
        self._values = self.compute() if running(trainer, pl_module)[1].can_answer else {}
        pl_module.log_dict(self._values)

    on_test_epoch_end = on_validation_epoch_end

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put them beside the module's own results, which exist by now, for results.json."""
        module = running(trainer, pl_module)[1]
        if self._values:
            module.add_results(next(iter(module.results)), self._values)

    on_test_end = on_validation_end

    def compute(self) -> dict[str, float]:
        """The metrics over all processes; resets the counters."""
        named = self._metrics | {name.removeprefix("fwm_"): metric for name, metric in self._own.items()}
        values = {f"{PREFIX}{name}": float(metric.compute()) for name, metric in named.items()}
        for metric in named.values():
            metric.reset()
        return values
