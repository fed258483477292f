"""What ``swirl predict`` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L

from swirl_lightning.callbacks.rows import lines, row_of
from swirl_lightning.report.run import write_whole
from swirl_lightning.types import say


class PredictionWriter(L.Callback):
    """Writes what both roles say of the test episodes to ``predictions.jsonl``, one file per process."""

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: D102
        self._rows: list[dict[str, Any]] = []

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Keep a batch of predictions."""
        self._rows += map(row_of, batch, outputs)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write them."""
        rank = "" if trainer.world_size == 1 else f"-{trainer.global_rank}"
        path = Path(trainer.log_dir or ".") / f"predictions{rank}.jsonl"
        write_whole(path, lines(self._rows))
        say(f"predictions: {path}")
