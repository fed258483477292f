"""Runs of `swirl fit` for the gain benchmarks: each in a process of its own, resumed where it was cut off, and kept."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from results_file import rounded, write

Results = dict[str, Any]
MONITORS = (
    "reward", "zero_variance_groups", "entropy", "kl", "completion_length", "unique_share", "truncated_share",
)  # fmt: skip
KEPT = ("stage", "phase", "iteration", "updates", "seconds", "gradient_tokens", "metrics", "validation")
"""What a file of results holds of a stage, and its monitors."""
LAST = 8
"""Updates at either end of a stage that a monitor is a mean of, at most; half of the stage where that is less."""


def fit(folder: Path, *options: str) -> Results:
    """One run on one thread, as a user would start it. Returns its results.json.

    A finished run is not made again, one that was cut off goes on where its last checkpoint left it, and what was run
    with other options in this folder is thrown away.
    """
    run, asked = folder / "version_0", folder / "options.json"
    if asked.exists() and json.loads(asked.read_text()) != list(options):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    asked.write_text(json.dumps(options))
    if not (run / "report.html").exists():
        command = [sys.executable, "-m", "swirl_lightning", "fit", *options, "--ckpt_path", "last"]
        command += ["--trainer.default_root_dir", str(folder), "--trainer.enable_progress_bar", "false"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return json.loads((run / "results.json").read_text())


def schedule(*stages: Results, iterations: int = 1) -> tuple[str, ...]:
    """Options of a run of these stages, without a warm-up."""
    listed = json.dumps(stages)
    return "--trainer.warmup", "[]", "--trainer.iteration", listed, "--trainer.iterations", str(iterations)


def budget(results: Results) -> tuple[float, int]:
    """Seconds and gradient tokens of all updates of a run."""
    return sum(s["seconds"] for s in results["stages"]), sum(s["gradient_tokens"] for s in results["stages"])


def checkpoint(folder: Path) -> Path:
    """Where a run of :func:`fit` left its last checkpoint."""
    return folder / "version_0" / "checkpoints" / "last.ckpt"


def monitored(folder: Path) -> list[dict[str, Any]]:
    """The stages of a finished run: metrics, cost, and the monitors at the stage's beginning and end."""
    run = folder / "version_0"
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    found = []
    for stage in json.loads((run / "results.json").read_text())["stages"]:
        updates = [row for row in history if row["stage"] == stage["stage"]]
        size = max(min(LAST, len(updates) // 2), 1)
        ends = {
            name: [fmean(row[name] for row in part) for part in (updates[:size], updates[-size:])]
            for name in MONITORS
            if updates and all(row.get(name) is not None for row in updates)
        }
        found.append({name: stage[name] for name in KEPT if name in stage} | {"monitors": ends})
    return found


class Ledger:
    """The file of results: every arm is written as soon as it is finished, and known when the benchmark runs again.

    Args:
        path: the JSON file; it may be there from a run that was cut off.
        about: what the numbers were made with. Its ``settings`` must be those of the file that is there.
    """

    def __init__(self, path: Path, about: Results) -> None:
        self.path = path
        self.content: Results = rounded(about | {"rows": []})  # as it will be read
        if path.exists():
            before = json.loads(path.read_text())
            if before["settings"] != self.content["settings"]:
                raise SystemExit(f"{path} holds results of other settings; give another --out, or remove it")
            self.content["rows"] = before["rows"]

    def find(self, **key: Any) -> Results | None:
        """The row with these values, if it is there."""
        return next((row for row in self.content["rows"] if key.items() <= row.items()), None)

    def add(self, row: Results) -> None:
        """Write a row; what was added meanwhile stays."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.path.parent):
            if self.path.exists():  # a second benchmark, of other seeds, may write here too
                self.content["rows"] = json.loads(self.path.read_text())["rows"]
            self.content["rows"].append(rounded(row))
            write(self.path, self.content, depth=4)  # a line a stage


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """No other thread or process is in here with this folder; one that is killed leaves no lock behind."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
