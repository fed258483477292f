"""What a callback measures once, with ``swirl test``, of more than single transitions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import lightning as L
from torchmetrics import Metric

from swirl_lightning.callbacks.running import running
from swirl_lightning.modules import SWIRL


class TestedOnce(L.Callback, ABC):
    """Adds metrics to ``swirl test``, over the items of a data module, of which each process takes its share."""

    metrics: Mapping[str, Metric]
    """By the names that they are logged under, without the split."""

    @abstractmethod
    def items(self, data: Any) -> list[Any]:
        """All that is to be measured.

        Raises:
            InputError: the data module has none.
        """

    @abstractmethod
    def count(self, module: SWIRL, items: list[Any]) -> None:
        """Ask the model about a share of the items, and update the metrics."""

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the items before anything is computed."""
        self._items = self.items(trainer.datamodule)  # type: ignore[attr-defined]
        for metric in self.metrics.values():
            metric.to(pl_module.device)

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure and log, over all processes."""
        with trainer.precision_plugin.val_step_context():
            self.count(running(trainer, pl_module)[1], self._items[trainer.global_rank :: trainer.world_size])
        self._values = {name: float(metric.compute()) for name, metric in self.metrics.items()}
        for metric in self.metrics.values():
            metric.reset()
        pl_module.log_dict({f"test/{name}": value for name, value in self._values.items()})

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put them beside the module's own results."""
        running(trainer, pl_module)[1].add_results("test", self._values)
