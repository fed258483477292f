"""Where the seconds of an update go, against the least that its multiply-adds could take.

    python benchmarks/update_floor.py --model SMOLLM2_FOLDER --phase vim --out benchmarks/results/update_floor.json

A few updates of `configs/textworld.yaml` on one thread, 16 transitions each. Seconds are those of the processor, so
that other work on the machine counts little. One more update is counted: the multiply-adds of every matrix product, by
part. The floor is their number over the rate of a large bfloat16 product of the model's own shape, measured beside.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from results_file import write
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

CONFIG = Path(__file__).parents[1] / "configs" / "textworld.yaml"
PARTS = ("generation", "scoring", "update")
ROWS = 1024
"""Rows of the product whose rate is measured."""


def added_product_flops(out: Any, a: Any, b: Any, *args: Any, **kwargs: Any) -> int:
    """Of ``addmm_``, which torch's counter does not know."""
    return 2 * a[0] * a[1] * b[1]


class Measure(L.Callback):
    """Writes the processor's seconds of all updates by part, the last of which is counted in place of being timed."""

    def __init__(self, out: str) -> None:
        self.out = Path(out)
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.flops: dict[str, int] = {}
        self.counting = False

    def on_train_start(self, trainer: L.Trainer, model: Any) -> None:
        """Time the parts of an update with the processor's clock."""
        clock = model.updates.clock

        @contextmanager
        def timed(part: str) -> Any:
            started, counter = time.process_time(), FlopCounterMode(
                display=False, custom_mapping={torch.ops.aten.addmm_: added_product_flops}
            )  # fmt: skip
            with clock(part):
                if self.counting:
                    with counter:
                        yield
                    self.flops[part] = self.flops.get(part, 0) + counter.get_total_flops()
                else:
                    yield
                    self.parts[part] += time.process_time() - started

        model.updates.clock = timed

    def on_train_batch_start(self, trainer: L.Trainer, model: Any, batch: Any, index: int) -> None:
        """The last update is counted."""
        self.parts = dict.fromkeys(PARTS, 0.0)
        self.counting = index == trainer.num_training_batches - 1
        self.started = time.process_time()

    def on_train_batch_end(self, trainer: L.Trainer, model: Any, outputs: Any, batch: Any, index: int) -> None:
        """Keep the update's seconds; after the last one, write all."""
        if not self.counting:
            self.seconds["all"].append(time.process_time() - self.started)
            for part, seconds in self.parts.items():
                self.seconds[part].append(seconds)
            return
        weights = [m.weight for m in model.weights.activate("fwm").modules() if type(m) is nn.Linear]
        tokens = {name: float(outputs["metrics"][name]) for name in ("tokens", "gradient_tokens")}
        found = {"seconds": self.seconds, "flops": self.flops, "rate": rate(weights), **tokens}
        self.out.write_text(json.dumps(found))


@torch.no_grad()
def rate(weights: list[torch.Tensor]) -> float:
    """Multiplications and additions a second of products of ``ROWS`` rows with the largest weight of a layer."""
    weight = max((w for w in weights if w.shape[0] < 20_000), key=lambda w: w.numel())
    x = torch.randn(ROWS, weight.shape[1], dtype=weight.dtype)
    for _ in range(3):
        nn.functional.linear(x, weight)
    started, times = time.process_time(), 50
    for _ in range(times):
        nn.functional.linear(x, weight)
    return 2.0 * ROWS * weight.numel() * times / (time.process_time() - started)


def run(phase: str, updates: int, options: list[str]) -> dict[str, Any]:
    """A run of one stage in a process of its own; its figures, the first update left out."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        stage = [{"phase": phase, "updates": updates + 2, "batch_size": 16, "learning_rate": 1e-4}]
        measure = [{"class_path": "update_floor.Measure", "init_args": {"out": str(out)}}]
        command = [sys.executable, "-m", "swirl_lightning", "fit", "--config", str(CONFIG)]
        command += ["--trainer.default_root_dir", folder, "--trainer.callbacks", json.dumps(measure)]
        command += ["--trainer.warmup", "[]", "--trainer.iteration", json.dumps(stage), "--trainer.iterations", "1"]
        command += ["--data.init_args.eval_limit", "1", "--data.init_args.validation_limit", "1", *options]
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}, check=True)
        found = json.loads(out.read_text())
    seconds = {name: statistics.median(values[1:]) for name, values in found["seconds"].items()}
    floor = {name: flops / found["rate"] for name, flops in found["flops"].items()}
    return found | {"phase": phase, "updates": updates, "seconds": seconds, "floor": floor}


def table(content: dict[str, Any]) -> str:
    """Seconds of an update by part, and its floor."""
    lines = ["| phase | whole | " + " | ".join(PARTS) + " | tokens | floor | times the floor |", "|" + " --- |" * 8]
    for name, its in content["runs"].items():
        parts = " | ".join(f"{its['seconds'][part]:.1f} s" for part in PARTS)
        whole, floor = its["seconds"]["all"], sum(its["floor"].values())
        tokens = f"{its['tokens']:.0f}, {its['gradient_tokens']:.0f} with gradient"
        lines.append(f"| {name} | {whole:.1f} s | {parts} | {tokens} | {floor:.1f} s | {whole / floor:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
        epilog="all other options go to `swirl fit`",
    )  # fmt: skip
    parser.add_argument("--model", help="name or folder of the language model; default: the configuration's")
    parser.add_argument("--phase", choices=("sft", "bootstrap", "vim", "elbo"), default="vim")
    parser.add_argument("--name", help="of the run in the table; default: its phase")
    parser.add_argument("--updates", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True, help="results; runs of other names in it stay")
    options, others = parser.parse_known_args()
    if options.model:
        others += ["--model.base.init_args.name", options.model]
    content: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {"runs": {}}
    content |= {"command": shlex.join(["python", *sys.argv]), "machine": f"{platform.machine()}, one thread"}
    content["runs"][options.name or options.phase] = run(options.phase, options.updates, others)
    write(options.out, content, depth=3)
    print(table(content))


if __name__ == "__main__":
    main()
