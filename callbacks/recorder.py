"""What a run shows: history.jsonl after every update, results.json and samples.jsonl after every phase."""

from __future__ import annotations

import json
import logging
import math
import platform
import time
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import lightning as L
import torch

from swirl_lightning import __version__
from swirl_lightning.callbacks.pictures import IN_TENSORBOARD, as_row, log_views, views_of
from swirl_lightning.callbacks.rows import lines, row_of
from swirl_lightning.callbacks.running import running
from swirl_lightning.modules.processes import gather_objects
from swirl_lightning.report.run import read_rows, write_whole
from swirl_lightning.types import check_number

log = logging.getLogger(__name__)

HISTORY = "history.jsonl"


class RunRecorder(L.Callback):
    """Writes what a run shows to its folder: a row of history.jsonl at every update, the other files after every phase.

    A checkpoint holds what it has collected and where in the schedule that was. A run that goes on from there drops the
    rows of history.jsonl that came later, so that its files are those of an undisturbed one.

    Args:
        num_samples: held-out transitions whose predictions are kept after every phase, always the same ones.
    """

    def __init__(self, num_samples: int = 12) -> None:
        check_number("RunRecorder.num_samples", num_samples, least=0)
        self.num_samples = num_samples
        self.config: dict[str, Any] = {}
        self.stages: list[dict[str, Any]] = []
        self.samples: list[dict[str, Any]] = []
        self._totals = {"seconds": 0.0, "tokens": 0, "gradient_tokens": 0}
        self._place = {"stage": "", "updates": 0}
        self._folder: str | None = None
        self._batch_started = 0.0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Bring history.jsonl to where the checkpoint stands; a new run has none."""
        folder = Path(trainer.log_dir or ".").resolve()
        if trainer.is_global_zero:
            self._take_history(folder)
        self._folder = str(folder)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: D102
        Path(trainer.log_dir or ".").mkdir(parents=True, exist_ok=True)

    def on_train_batch_start(self, *args: Any) -> None:  # noqa: D102
        self._batch_started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the update's metrics to the history."""
        loop, _ = running(trainer, pl_module)
        self._totals["seconds"] += time.perf_counter() - self._batch_started
        metrics = outputs["metrics"]
        self._totals["tokens"] += int(metrics["tokens"])
        self._totals["gradient_tokens"] += int(metrics["gradient_tokens"])
        self._place = {"stage": loop.current.name, "updates": batch_idx + 1}
        if trainer.is_global_zero:
            row = {
                "stage": loop.current.name,
                "update": batch_idx,
                **{k: _number(value) for k, value in metrics.items()},
            }
            # closed at once, so that who watches the file sees it
            with (Path(trainer.log_dir or ".") / HISTORY).open("a", encoding="utf-8") as file:
                file.write(lines([row]))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the stage that has just been evaluated."""
        loop, module = running(trainer, pl_module)
        finished = loop.finished
        evaluated = finished.phase.answers
        results = module.results if evaluated else {}
        discarded = module.discarded if evaluated else None
        self.stages.append(
            {
                "stage": finished.name,
                "phase": finished.phase.name,
                "learners": list(finished.phase.learners),
                "iteration": finished.iteration,
                "updates": loop.updates,
                **self._totals,
                "metrics": _numbers(results.get("test", {})),
                "validation": _numbers(results.get("validation", {})),
                **({"discarded": {split: _numbers(its) for split, its in discarded.items()}} if discarded else {}),
            }
        )
        self._totals = {"seconds": 0.0, "tokens": 0, "gradient_tokens": 0}
        self._place = {"stage": "", "updates": 0}
        # the processes have every so many-th transition each
        shares = gather_objects(module.predictions[: self.num_samples] if evaluated else [])
        predictions = [both for turn in zip_longest(*shares) for both in turn if both]
        for n, (transition, prediction) in enumerate(predictions[: self.num_samples]):
            (comparable,) = module.codec.compared([transition])
            views = views_of(module.codec, transition, prediction)
            self.samples.append({"stage": finished.name, **row_of(comparable, prediction), **as_row(views)})
            if trainer.is_global_zero and n < IN_TENSORBOARD:
                log_views(trainer, transition, views, len(self.stages))
        if trainer.is_global_zero:
            self.write(Path(trainer.log_dir or "."), module.seed)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write once more: a finished run may be resumed into another folder."""
        if trainer.is_global_zero and self.stages:
            self.write(Path(trainer.log_dir or "."), running(trainer, pl_module)[1].seed)

    def write(self, folder: Path, seed: int) -> None:
        """Write the run's files, each whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        results = {
            "config": self.config,
            "versions": versions(),
            "seed": seed,
            "stages": self.stages,
        }
        write_whole(folder / "results.json", json.dumps(results, indent=1))
        write_whole(folder / "samples.jsonl", lines(self.samples))

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return {
            "stages": self.stages,
            "samples": self.samples,
            "totals": self._totals,
            "place": self._place,
            "folder": self._folder,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # noqa: D102
        self.stages = state_dict["stages"]
        self.samples = state_dict["samples"]
        self._totals = state_dict["totals"]
        self._place = state_dict["place"]
        self._folder = state_dict["folder"]

    def _take_history(self, folder: Path) -> None:
        """Keep the checkpoint's rows of this folder's history, or of that of the folder that the run was in before."""
        own = folder / HISTORY
        found = [read_rows(path) for path in (own, Path(self._folder or folder) / HISTORY)]
        rows = max(([row for row in rows if self._is_before(row)] for rows in found), key=len)
        expected = sum(stage["updates"] for stage in self.stages) + self._place["updates"]
        if len(rows) < expected:
            log.warning(
                f"{own}: found {len(rows)} of the {expected} updates before the checkpoint; the others stand in the "
                "folder of the run that wrote it, if that is kept"
            )
        if rows:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(own, lines(rows))
        else:
            own.unlink(missing_ok=True)

    def _is_before(self, row: dict[str, Any]) -> bool:
        """Whether the checkpoint comes after this update."""
        running = row["stage"] == self._place["stage"] and row.get("update", 0) < self._place["updates"]
        return running or any(stage["stage"] == row["stage"] for stage in self.stages)


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    packages = ("torch", "lightning", "transformers", "peft", "tokenizers")
    return {"swirl-lightning": __version__, "python": platform.python_version()} | {
        name: version(name) if name != "torch" else torch.__version__ for name in packages
    }


def _numbers(metrics: dict[str, float]) -> dict[str, float | None]:
    return {key: _number(value) for key, value in metrics.items()}


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if math.isfinite(value) else None
