"""What a run ends with."""

from __future__ import annotations

import json
from pathlib import Path

import lightning as L

from swirl_lightning.report import gain_table, write_report
from swirl_lightning.types import say


class RunReport(L.Callback):
    """Writes ``report.html`` from the run's files and prints the table of held-out metrics before and after."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """After the recorder has written the files."""
        results = Path(trainer.log_dir or ".") / "results.json"
        if trainer.is_global_zero and results.is_file():
            report = write_report(results.parent)
            say(gain_table(json.loads(results.read_text(encoding="utf-8"))))
            say(f"results: {results}\nreport:  {report}")
