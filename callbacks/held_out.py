"""What a callback measures of held-out transitions, beside the module's own metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from torchmetrics import Metric

from swirl_lightning.callbacks.running import running
from swirl_lightning.modules import SWIRL
from swirl_lightning.types import Transition


class HeldOutMetrics(L.Callback, ABC):
    """Adds metrics to each evaluation, of the test episodes (under ``swirl validate``: the validation episodes).

    They are logged over all processes, and stand in results.json beside the module's own.
    """

    def __init__(self) -> None:
        self._values: dict[str, float] = {}

    @property
    @abstractmethod
    def metrics(self) -> Mapping[str, Metric]:
        """The metrics by the names that they are logged under."""

    @abstractmethod
    def count(self, module: SWIRL, transitions: Sequence[Transition]) -> None:
        """Ask the model about some transitions, whose states are as the FWM writes them, and update the metrics."""

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count where the model is: the processes exchange their counts."""
        for metric in self.metrics.values():
            metric.to(pl_module.device)

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Count a batch of the first of the splits that are evaluated."""
        module = running(trainer, pl_module)[1]
        if batch and dataloader_idx == 0 and module.can_answer:
            self.count(module, module.codec.compared(batch))

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the metrics."""
        self._values = self.compute() if running(trainer, pl_module)[1].can_answer else {}
        pl_module.log_dict(self._values)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put them beside the module's own results, which exist by now, for results.json."""
        module = running(trainer, pl_module)[1]
        if self._values:
            module.add_results(next(iter(module.results)), self._values)

    on_test_epoch_start = on_validation_epoch_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end
    on_test_end = on_validation_end

    def compute(self) -> dict[str, float]:
        """The metrics over all processes; resets the counters."""
        values = {name: float(metric.compute()) for name, metric in self.metrics.items()}
        for metric in self.metrics.values():
            metric.reset()
        return values
