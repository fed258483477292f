"""How long is it to the first update, and how much memory does it take, as the log grows?

For each size a log of short rows is written, one episode in ten with actions, and fitted twice by ``swirl fit`` with
one cache folder: the first start reads and encodes the log, the second finds both on disk. Measured are the seconds
from the start of the process to the first line of history.jsonl, and the most memory that was resident by then (VmHWM),
mapped files among it. Beside the seconds stand those of a processor, which depend less on what else runs.

    python benchmarks/scale.py --out benchmarks/results/scale.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import results_file
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

from swirl_lightning.models import ScratchLM

SIZES = (20_000, 200_000, 2_000_000)
STEPS = 20
THINGS = {"door": ("open", "shut", "locked"), "lamp": ("on", "off"), "cup": ("full", "empty"), "oven": ("hot", "cold")}
PACKAGES = ("swirl-lightning", "torch", "pyarrow", "tokenizers")


def state_of(things: dict[str, str], room: int) -> str:
    return "\n".join(f"{name} of room {room} is {value}" for name, value in sorted(things.items()))


def write_log(path: Path, rows: int) -> None:
    """Things in a room, one of which changes at every step; the rows of nine episodes in ten have no action."""
    rng = random.Random(0)
    with path.open("w") as file:
        for episode in range(rows // STEPS):
            room = rng.randrange(1000)
            things = {name: rng.choice(values) for name, values in THINGS.items()}
            for step in range(STEPS):
                name = rng.choice(list(THINGS))
                value = rng.choice([other for other in THINGS[name] if other != things[name]])
                after = things | {name: value}
                row: dict[str, Any] = {"episode": f"episode {episode}", "step": step}
                row |= {"state": state_of(things, room), "next_state": state_of(after, room)}
                file.write(json.dumps(row | ({} if episode % 10 else {"action": f"make {name} {value}"})) + "\n")
                things = after


def make_base(folder: Path) -> Path:
    """A small random base in the Hugging Face layout."""
    tokenizer = ScratchLM().tokenizer([state_of(dict.fromkeys(THINGS, "open"), 12)] * 3, ())
    config = LlamaConfig(
        vocab_size=512, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def configuration(log: Path, base: Path, folder: Path) -> dict[str, Any]:
    """An update on all rows and one on the labels, of a small model."""
    roles = {"learning_rate": 1e-3, "max_new_tokens": 16, "grpo": {"group_size": 4}}
    classes = "swirl_lightning.modules."
    return {
        "seed_everything": 0,
        "trainer": {
            "accelerator": "cpu", "default_root_dir": str(folder), "iterations": 0,
            "warmup": [{"phase": "pretrain", "updates": 1}, {"phase": "sft", "updates": 1}],
        },
        "model": {
            "base": {"class_path": "swirl_lightning.models.PretrainedLM", "init_args": {"name": str(base)}},
            "fwm": {"class_path": classes + "ForwardWorldModel", "init_args": roles},
            "idm": {"class_path": classes + "InverseDynamicsModel", "init_args": roles},
        },
        "data": {
            "class_path": "swirl_lightning.environments.log.LogDataModule",
            "init_args": {"path": str(log), "batch_size": 16, "eval_limit": 16},
        },
    }  # fmt: skip


def usage(process: int) -> dict[str, float]:
    """The most bytes that a process has had resident, and the seconds of a processor that it has used."""
    folder = Path(f"/proc/{process}")
    lines = (folder / "status").read_text().splitlines()
    ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
    peak = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
    return {"peak_bytes": peak, "cpu_seconds": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")}


def start(config: Path, folder: Path, cache: Path) -> dict[str, float]:
    """Fit until the first update; its seconds and bytes."""
    environment = os.environ | {"HF_DATASETS_CACHE": str(cache)}
    command = [sys.executable, "-m", "swirl_lightning", "fit", "--config", str(config)]
    began, used = time.perf_counter(), {}
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        while process.poll() is None and not list(folder.glob("version_*/history.jsonl")):
            used = usage(process.pid)
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        if process.wait():
            raise SystemExit((folder / "output").read_text())
    return {"seconds": seconds, **used}


def measure(rows: int, folder: Path) -> dict[str, Any]:
    """Both starts on a log of so many rows."""
    log, cache, config = folder / "log.jsonl", folder / "cache", folder / "config.yaml"
    write_log(log, rows)
    base = make_base(folder / "base")
    starts = []
    for name in ("first", "second"):
        run = folder / name
        run.mkdir()
        config.write_text(yaml.safe_dump(configuration(log, base, run)))
        starts.append(start(config, run, cache))
    kept = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    first, second = starts
    return {"rows": rows, "log_bytes": log.stat().st_size, "cache_bytes": kept, "first": first, "second": second}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    options = parser.parse_args()
    content: dict[str, Any] = {
        "command": shlex.join(["python", "benchmarks/scale.py", *sys.argv[1:]]),
        "machine": {"cpus": os.cpu_count(), "processor": platform.machine()},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "cases": [],
    }
    for rows in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            content["cases"].append(measure(rows, Path(folder)))
        print(json.dumps(content["cases"][-1]), flush=True)
        results_file.write(options.out, content, depth=2)


if __name__ == "__main__":
    main()
