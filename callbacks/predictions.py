"""What ``swirl predict`` writes."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Any

import lightning as L

from swirl_lightning.callbacks.rows import lines, row_of
from swirl_lightning.environments.kept import Kept
from swirl_lightning.modules.processes import gather_objects
from swirl_lightning.report.run import write_whole
from swirl_lightning.types import say

PREDICTIONS = "predictions.jsonl"


class PredictionWriter(L.Callback):
    """Writes what both roles say of the test episodes to ``predictions.jsonl``, in the order of the data.

    Until that is whole, each process keeps its share, batch by batch, in ``predictions.jsonl.kept``; the others add
    their number to the name. Whatever ends the command leaves it there. The next one begins anew.
    """

    def __init__(self) -> None:
        self._kept: Kept | None = None

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the file."""
        name = f"{PREDICTIONS}.kept" + (f"-{trainer.global_rank}" if trainer.global_rank else "")
        self._kept = Kept(Path(trainer.log_dir or ".") / name, None, "predictions that were made").__enter__()

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Keep a batch of predictions."""
        assert self._kept is not None
        self._kept.add(map(row_of, batch, outputs))

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write those of all processes, which take turns in the data: see ``EvalLoader``."""
        assert self._kept is not None
        parts = gather_objects(self._kept.rows)
        if trainer.is_global_zero:
            rows = [row for turn in zip_longest(*parts) for row in turn if row is not None]
            path = Path(trainer.log_dir or ".") / PREDICTIONS
            write_whole(path, lines(rows))
            say(f"predictions: {path}")
        trainer.strategy.barrier()  # a share goes when the whole is there
        self._end(None)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Say what is kept."""
        self._end(exception)

    def _end(self, error: BaseException | None) -> None:
        if self._kept is not None:
            self._kept.__exit__(type(error) if error else None, error, None)
            self._kept = None
