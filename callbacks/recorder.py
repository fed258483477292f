"""results.json, history.jsonl, samples.jsonl, report.html and the closing table of a run."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch

from swirl_lightning import __version__
from swirl_lightning.callbacks.freeze import running
from swirl_lightning.report import gain_table, write_report
from swirl_lightning.types import Prediction, Transition


class RunRecorder(L.Callback):
    """Keeps what a run showed and writes it to the run's folder after every phase.

    All it has collected is in the checkpoint, so a resumed run writes the same files as an undisturbed one.

    Args:
        num_samples: held-out transitions whose predictions are kept after every phase, always the same ones.
    """

    def __init__(self, num_samples: int = 12) -> None:
        self.num_samples = num_samples
        self.stages: list[dict[str, Any]] = []
        self.history: list[dict[str, Any]] = []
        self.samples: list[dict[str, Any]] = []
        self._totals = {"seconds": 0.0, "tokens": 0, "gradient_tokens": 0}
        self._batch_started = 0.0

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
        self.history.append({"stage": loop.current.name, "update": batch_idx, **values})

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the stage that has just been evaluated."""
        loop, module = running(trainer, pl_module)
        finished = loop.finished
        evaluated = finished.stage.phase != "pretrain"
        results = module.results if evaluated else {}
        self.stages.append(
            {
                "stage": finished.name,
                "phase": finished.stage.phase,
                "iteration": finished.iteration,
                "updates": loop.updates,
                **self._totals,
                "metrics": {key: _number(value) for key, value in results.get("test", {}).items()},
                "validation": {key: _number(value) for key, value in results.get("validation", {}).items()},
            }
        )
        self._totals = {"seconds": 0.0, "tokens": 0, "gradient_tokens": 0}
        for transition, prediction in module.predictions[: self.num_samples] if evaluated else ():
            self.samples.append({"stage": finished.name, **_row(transition, prediction)})
        if trainer.is_global_zero:
            self.write(trainer, module.seed)

    def write(self, trainer: L.Trainer, seed: int) -> None:
        """Write the run's files, each whole or not at all."""
        folder = Path(trainer.run_dir)  # type: ignore[attr-defined]
        folder.mkdir(parents=True, exist_ok=True)
        results = {
            "config": trainer.run_config,  # type: ignore[attr-defined]
            "versions": versions(),
            "seed": seed,
            "stages": self.stages,
        }
        _write(folder / "results.json", json.dumps(results, indent=1))
        _write(folder / "history.jsonl", "".join(json.dumps(row) + "\n" for row in self.history))
        _write(folder / "samples.jsonl", "".join(json.dumps(row) + "\n" for row in self.samples))

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the report and print the table."""
        if not trainer.is_global_zero or not self.stages:
            return
        folder = Path(trainer.run_dir)  # type: ignore[attr-defined]
        self.write(trainer, running(trainer, pl_module)[1].seed)  # a finished run may be resumed into another folder
        report = write_report(folder)
        print(gain_table(json.loads((folder / "results.json").read_text(encoding="utf-8"))))
        print(f"results: {folder / 'results.json'}\nreport:  {report}")

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: D102
        self._predicted: list[dict[str, Any]] = []

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Keep a batch of predictions."""
        self._predicted += map(_row, batch, outputs)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what ``swirl predict`` found to ``predictions.jsonl``, one file per process."""
        rank = "" if trainer.world_size == 1 else f"-{trainer.global_rank}"
        path = Path(trainer.run_dir) / f"predictions{rank}.jsonl"  # type: ignore[attr-defined]
        _write(path, "".join(json.dumps(row) + "\n" for row in self._predicted))
        print(f"predictions: {path}")

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


def _row(transition: Transition, prediction: Prediction) -> dict[str, Any]:
    return {
        "episode": transition.episode,
        "step": transition.step,
        "state": transition.state,
        "action": transition.action,
        "next_state": transition.next_state,
        "predicted_action": prediction.action,
        "predicted_next_state": prediction.next_state,
    }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if math.isfinite(value) else None


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
