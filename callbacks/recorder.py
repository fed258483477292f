"""What a run showed: results.json, history.jsonl and samples.jsonl."""

from __future__ import annotations

import json
import math
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch

from swirl_lightning import __version__
from swirl_lightning.callbacks.rows import lines, row_of, write_whole
from swirl_lightning.callbacks.running import running
from swirl_lightning.types import check_number

HISTORY = "history.jsonl"


class RunRecorder(L.Callback):
    """Keeps what a run showed: a row of history.jsonl after every update, all else after every phase.

    All it has collected is in the checkpoint, so a resumed run writes the same files as an undisturbed one.

    Args:
        num_samples: held-out transitions whose predictions are kept after every phase, always the same ones.
    """

    def __init__(self, num_samples: int = 12) -> None:
        check_number("RunRecorder.num_samples", num_samples, least=0)
        self.num_samples = num_samples
        self.config: dict[str, Any] = {}
        self.stages: list[dict[str, Any]] = []
        self.history: list[dict[str, Any]] = []
        self.samples: list[dict[str, Any]] = []
        self._totals = {"seconds": 0.0, "tokens": 0, "gradient_tokens": 0}
        self._batch_started = 0.0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the history, or go on where the checkpoint stands: what a killed run wrote after it is made again."""
        if trainer.is_global_zero:
            folder = Path(trainer.log_dir or ".")
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / HISTORY, lines(self.history))

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
        values = {key: _number(value) for key, value in metrics.items()}
        row = {"stage": loop.current.name, "update": batch_idx, **values}
        self.history.append(row)
        if trainer.is_global_zero:
            with (Path(trainer.log_dir or ".") / HISTORY).open("a", encoding="utf-8") as file:
                file.write(lines([row]))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the stage that has just been evaluated."""
        loop, module = running(trainer, pl_module)
        finished = loop.finished
        evaluated = finished.phase.answers
        results = module.results if evaluated else {}
        self.stages.append(
            {
                "stage": finished.name,
                "phase": finished.phase.name,
                "learners": list(finished.phase.learners),
                "iteration": finished.iteration,
                "updates": loop.updates,
                **self._totals,
                "metrics": {key: _number(value) for key, value in results.get("test", {}).items()},
                "validation": {key: _number(value) for key, value in results.get("validation", {}).items()},
            }
        )
        self._totals = {"seconds": 0.0, "tokens": 0, "gradient_tokens": 0}
        for transition, prediction in module.predictions[: self.num_samples] if evaluated else ():
            self.samples.append({"stage": finished.name, **row_of(transition, prediction)})
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
        write_whole(folder / HISTORY, lines(self.history))
        write_whole(folder / "samples.jsonl", lines(self.samples))

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return {"stages": self.stages, "history": self.history, "samples": self.samples, "totals": self._totals}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # noqa: D102
        self.stages = state_dict["stages"]
        self.history = state_dict["history"]
        self.samples = state_dict["samples"]
        self._totals = state_dict["totals"]


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    packages = ("torch", "lightning", "transformers", "peft", "tokenizers")
    return {"swirl-lightning": __version__, "python": platform.python_version()} | {
        name: version(name) if name != "torch" else torch.__version__ for name in packages
    }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if math.isfinite(value) else None
