"""What telling a small model the place of each cell is worth, where it writes whole pictures or changes.

    swirl collect minigrid --out worlds/minigrid
    python benchmarks/picture_places.py --data worlds/minigrid --out benchmarks/results/picture_places.json

The warm-up of ``configs/minigrid.yaml`` alone, with ``model.state_form`` full and delta and ``places`` off and on, and
seeds that no result elsewhere has. One run after the other, each in a process of its own on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from results_file import write

CONFIG = Path(__file__).parents[1] / "configs" / "minigrid.yaml"
CELLS = 42
METRICS = ("fwm/exact_match", "fwm/changed_cells", "idm/exact_match")
NAMES = ("FWM exact match", "changed cells", "IDM exact match")
ARMS = [(form, places) for form in ("full", "delta") for places in (False, True)]


def run(data: Path, form: str, places: bool, seed: int, updates: tuple[int, int]) -> dict[str, Any]:
    """The held-out metrics after a warm-up, and its seconds."""
    pretrain, sft = updates
    warmup = [
        {"phase": "pretrain", "updates": pretrain, "learning_rate": 3e-3},
        {"phase": "sft", "updates": sft, "learning_rate": 1e-3},
    ]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "swirl_lightning", "fit", "--config", str(CONFIG)]
        command += ["--trainer.default_root_dir", folder, "--trainer.iterations", "0"]
        command += ["--trainer.warmup", json.dumps(warmup), "--data.init_args.path", str(data)]
        command += ["--model.state_form", form, "--model.base.init_args.places", json.dumps(places)]
        command += ["--seed_everything", str(seed)]
        if form == "full":
            command += ["--model.fwm.init_args.max_new_tokens", str(CELLS)]
        subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, stdout=sys.stderr)
        results = json.loads(next(Path(folder).glob("**/results.json")).read_text())
    stages = results["stages"]
    seconds = sum(stage["seconds"] for stage in stages)
    found = {name: stages[-1]["metrics"][name] for name in METRICS}
    return {"updates": list(updates), "form": form, "places": places, "seed": seed, "seconds": seconds, **found}


def table(content: dict[str, Any]) -> str:
    """A line for each arm of each warm-up: its metrics, seed by seed."""
    lines = ["| form | places | updates | seeds | " + " | ".join(NAMES) + " |", "| --- " * (4 + len(NAMES)) + "|"]
    arms = {(tuple(its["updates"]), *arm): None for arm in ARMS for its in content["runs"]}
    for updates, form, places in arms:
        runs = [its for its in content["runs"] if key_of(its)[:3] == (updates, form, places)]
        if runs:
            cells = [", ".join(f"{its[name]:.3f}" for its in runs) for name in METRICS]
            seeds = ", ".join(str(its["seed"]) for its in runs)
            warm_up = " + ".join(map(str, updates))
            lines.append(f"| `{form}` | {'yes' if places else 'no'} | {warm_up} | {seeds} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def key_of(its: dict[str, Any]) -> tuple[tuple[int, ...], str, bool, int]:
    """What tells a run apart."""
    return tuple(its["updates"]), its["form"], its["places"], its["seed"]


def main() -> None:
    """All arms that are not in the file yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--data", type=Path, required=True, help="folder of swirl collect minigrid")
    parser.add_argument("--seeds", type=int, nargs="+", default=[5, 6])
    parser.add_argument("--updates", type=int, nargs=2, default=[2000, 400], help="of pretrain and of sft")
    parser.add_argument("--form", choices=("full", "delta"), help="this one alone")
    parser.add_argument("--out", type=Path, required=True, help="results; what is in it already is not run again")
    options = parser.parse_args()
    content: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {"runs": []}
    content |= {"command": shlex.join(["python", *sys.argv]), "machine": f"{platform.machine()}, one thread"}
    done = {key_of(its) for its in content["runs"]}
    updates = (options.updates[0], options.updates[1])
    for seed in options.seeds:
        for form, places in ARMS:
            if (updates, form, places, seed) in done or (options.form or form) != form:
                continue
            content["runs"].append(run(options.data, form, places, seed, updates))
            write(options.out, content, depth=2)
            print(table(content), flush=True)


if __name__ == "__main__":
    main()
