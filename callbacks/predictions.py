"""What ``swirl predict`` writes."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Any

import lightning as L

from swirl_lightning.callbacks.rows import lines, row_of
from swirl_lightning.modules.processes import gather_objects
from swirl_lightning.report.run import write_whole
from swirl_lightning.types import say


class PredictionWriter(L.Callback):
    """Writes what both roles say of the test episodes to ``predictions.jsonl``, in the order of the data."""

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: D102
        self._rows: list[dict[str, Any]] = []

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Keep a batch of predictions."""
        self._rows += map(row_of, batch, outputs)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write those of all processes, which take turns in the data: see ``EvalLoader``."""
        parts = gather_objects(self._rows)
        if trainer.is_global_zero:
            rows = [row for turn in zip_longest(*parts) for row in turn if row is not None]
            path = Path(trainer.log_dir or ".") / "predictions.jsonl"
            write_whole(path, lines(rows))
            say(f"predictions: {path}")
