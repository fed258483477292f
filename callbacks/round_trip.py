"""Whether the IDM's answers explain what was seen, whatever they are called."""

from __future__ import annotations

from typing import Any

import lightning as L

from swirl_lightning.callbacks.running import running
from swirl_lightning.metrics import ExactMatch
from swirl_lightning.modules.round_trip import round_trip


class RoundTrip(L.Callback):
    """Measures how often the IDM's action, given to the FWM, leads to the observed next state.

    Adds ``idm/round_trip`` to each evaluation, of the test episodes (under ``swirl validate``: the validation
    episodes). It is high and ``idm/exact_match`` low where the IDM has understood what happened and gives it another
    name, about which states say nothing. An FWM that writes the right state whatever the action makes it high too: read
    it beside ``fwm/exact_match``.
    """

    def __init__(self) -> None:
        self._metric = ExactMatch()
        self._values: dict[str, float] = {}

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count where the model is: the processes exchange their counts."""
        self._metric.to(pl_module.device)

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Go there and back, in the first of the splits that are evaluated."""
        module = running(trainer, pl_module)[1]
        if batch and dataloader_idx == 0 and module.can_answer:
            self._metric.update(round_trip(module, batch), [t.next_state for t in batch])

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the share over all processes."""
        can = running(trainer, pl_module)[1].can_answer
        self._values = {"idm/round_trip": float(self._metric.compute())} if can else {}
        self._metric.reset()
        pl_module.log_dict(self._values)

    on_test_epoch_end = on_validation_epoch_end

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put it beside the module's own results, which exist by now, for results.json."""
        module = running(trainer, pl_module)[1]
        if self._values:
            module.add_results(next(iter(module.results)), self._values)

    on_test_end = on_validation_end
