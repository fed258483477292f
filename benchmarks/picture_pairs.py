"""Pairs of real pictures from end to end with random models of each pretrained family: nothing is downloaded.

    python benchmarks/picture_pairs.py --data AURORA_FOLDER --side 64 --out benchmarks/results/picture_pairs.json

The folder is AURORA-Bench's as published: test.json and data/. Each model reads the pairs, is trained for two updates a
phase, predicts every pair, is measured, shows its report, and both roles are exported and loaded again by transformers
and PEFT alone. It shows that nothing on this way fails and what it takes on a CPU; what a random model predicts means
nothing. Tiny models: a code stands for 4 x 4 pixels, so that 64 pixels are 256 codes.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import results_file
import torch
import yaml
from peft import PeftModel
from picture_models import CELL, KINDS, make_clip

from swirl_lightning.commands import main as swirl
from swirl_lightning.environments.aurora import AuroraDataModule
from swirl_lightning.environments.aurora.bench import TASKS
from swirl_lightning.modules import SWIRL
from swirl_lightning.modules.prediction import predict_next
from swirl_lightning.trained.load import load_run
from swirl_lightning.types import Prediction

PACKAGES = ("swirl-lightning", "torch", "lightning", "transformers", "peft", "pillow")
UPDATES = 2


def configuration(kind: str, options: Any, side: int, folder: Path, data: Any) -> dict[str, Any]:
    """A run of two updates a phase."""
    cells = side // CELL
    longest = cells * (cells + 1)
    roles = {
        "fwm": ("ForwardWorldModel", longest),
        "idm": ("InverseDynamicsModel", 24),
    }
    return {
        "seed_everything": 0,
        "trainer": {
            "accelerator": "cpu", "default_root_dir": str(folder / "runs"),
            "warmup": [{"phase": "sft", "updates": UPDATES, "batch_size": 2}],
            "iteration": [{"phase": phase, "updates": UPDATES} for phase in ("vim", "elbo")],
            "iterations": 1,
        },
        "model": {
            "base": {
                "class_path": f"swirl_lightning.models.{KINDS[kind][0].__name__}",
                "init_args": options | {"picture_size": side, "dtype": "float32", "lora_rank": 2},
            },
            "state_form": "full", "max_tokens": 2 * longest + 400, "micro_batch": 4,
            **{
                role: {
                    "class_path": f"swirl_lightning.modules.{name}",
                    "init_args": {"learning_rate": 1e-3, "max_new_tokens": tokens, "grpo": {"group_size": 2}},
                }
                for role, (name, tokens) in roles.items()
            },
        },
        "data": {
            "class_path": "swirl_lightning.environments.aurora.AuroraDataModule",
            "init_args": data | {"divide_test": True, "batch_size": 2, "eval_batch_size": 4},
        },
    }  # fmt: skip


def run_pairs(
    kind: str, side: int, data: Path, folder: Path, rows: int, tasks: Sequence[str] = TASKS
) -> dict[str, Any]:
    """One model from the pairs to the folders that others load.

    Args:
        kind: of ``picture_models.KINDS``.
        side: pixels that pictures are brought to.
        data: AURORA-Bench.
        folder: for what is written.
        rows: pairs that are held out, and that are predicted after training, at most.
        tasks: of AURORA.

    Returns:
        What was counted and measured, and seconds.

    Raises:
        RuntimeError: something on the way was not as it must be.
    """
    options = KINDS[kind][1](folder)
    config = folder / "config.yaml"
    (folder / "clip").mkdir()
    shared = {"tasks": list(tasks), "clip": make_clip(folder / "clip")}
    its_data = {"path": str(data), "eval_limit": rows} | shared
    config.write_text(yaml.safe_dump(configuration(kind, options, side, folder, its_data)), encoding="utf-8")
    started = time.perf_counter()
    if code := swirl(["fit", f"--config={config}"]):
        raise RuntimeError(f"{kind}: swirl fit ended with {code}")
    (run,) = (folder / "runs").glob("version_*")
    found: dict[str, Any] = {"fit": time.perf_counter() - started}
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    stages = {stage["stage"]: stage for stage in results["stages"] if stage["updates"]}
    if [stage["updates"] for stage in stages.values()] != [UPDATES] * 3:
        raise RuntimeError(f"{kind}: expected {UPDATES} updates in each of three stages, found {list(stages)}")
    found["stages"] = {name: {"seconds": stage["seconds"], "tokens": stage["tokens"]} for name, stage in stages.items()}
    page = (run / "report.html").read_text(encoding="utf-8")
    found["report"] = {"pictures": len(re.findall(r'src="data:image/png;base64,', page)), "bytes": len(page)}
    benchmark, model = AuroraDataModule(data, **shared), load_run(run)
    benchmark.setup()
    return found | predicted(model, benchmark, rows) | exported(model, kind, run, folder / "exported")


def predicted(model: SWIRL, benchmark: AuroraDataModule, rows: int) -> dict[str, Any]:
    """The pairs by task, their codes, and what the trained FWM makes of them."""
    pairs = list(benchmark.test)
    test = pairs[:rows]
    started = time.perf_counter()
    codes = [model.codec.encode(t) for t in test]
    encoded = time.perf_counter() - started
    started = time.perf_counter()
    said = predict_next(model, [t.state for t in test], [str(t.action) for t in test], test[0].environment)
    if any(each.state is None for each in said):
        raise RuntimeError(f"found a prediction that is no picture: {next(s.problem for s in said if s.problem)}")
    metrics = benchmark.metrics()
    for metric in metrics.values():
        metric.update(test, [Prediction(str(t.action), each.state) for t, each in zip(test, said, strict=True)])
    return {
        "pairs": dict(Counter(t.environment for t in pairs)),
        "codes": {
            "a picture": len(codes[0].x), "longest prompt and answer": max(code.length for code in codes),
            "seconds": encoded, "lost": model.codec.losses([t.state for t in test]),
        },
        "predicted": len(said), "prediction": time.perf_counter() - started,
        "metrics": {name: float(metric.compute()) for name, metric in metrics.items()},
    }  # fmt: skip


def exported(model: SWIRL, kind: str, run: Path, folder: Path) -> dict[str, Any]:
    """The largest difference between logits of the run's model and of the adapter of ``swirl export`` on its base."""
    if code := swirl(["export", str(run), f"--out={folder}"]):
        raise RuntimeError(f"{kind}: swirl export ended with {code}")
    differences: dict[str, float] = {}
    loader: Any = model.base
    for role in (model.fwm, model.idm):
        ids = torch.tensor([[*model.codec.prompts().forward_head(()), *range(3, 40)]])
        with torch.no_grad():
            ours = model.weights.activate(role.policy.name)(ids).logits
            base = loader.model_class.from_pretrained(loader.name, dtype=torch.float32)
            before = base(ids).logits
            theirs = PeftModel.from_pretrained(base, folder / role.role)(ids).logits
        seen = theirs > torch.finfo(torch.float32).min  # a Chameleon's own forward gives codes no logits
        if kind != "chameleon" and not seen.all():
            raise RuntimeError(f"{kind}: found ids without a logit, expected one for each")
        if not float((ours - before)[seen].abs().max()) > 0:
            raise RuntimeError(f"{kind}: {role.role} is as it was before training")
        differences[role.role] = float((ours - theirs)[seen].abs().max())
    return {"difference after export": differences}


def main() -> int:
    """Run every kind and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="AURORA-Bench's folder")
    parser.add_argument("--side", type=int, default=64, help="pixels that pictures are brought to, a multiple of 4")
    parser.add_argument("--rows", type=int, default=30, help="pairs that are predicted and held out, at most")
    parser.add_argument("--only", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    about = {
        "command": shlex.join(["python", *sys.argv]),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "threads": torch.get_num_threads(),
    }
    found: dict[str, Any] = {}
    for kind in options.only:
        with tempfile.TemporaryDirectory() as folder:
            found[kind] = run_pairs(kind, options.side, options.data, Path(folder), options.rows)
        results_file.write(options.out, about | {"kinds": found}, depth=4)
    return 0


if __name__ == "__main__":
    sys.exit(main())
