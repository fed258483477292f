"""Does SWIRL gain on held-out worlds, over seeds, against baselines with the same warm-up and the same compute?

For every seed: the quickstart's warm-up once, then from its weights each arm: SWIRL; SWIRL with the bootstrap loss
mixed into the VIM phase; supervised training continued on the labels; and bootstrap (the FWM on the IDM's own labels of
the state-only half, labels mixed in). The baselines run twice: for SWIRL's gradient tokens and for SWIRL's seconds.

    python benchmarks/quickstart_gain.py --worlds worlds/seed1 --seeds 10 11 12 13 14 --out benchmarks/results/gain.json

``--worlds`` is a folder made by ``swirl collect textworld --out worlds/seed1 --seed 1``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
# tuned on the packaged worlds with seeds 0 and 1 (--tune); see benchmarks/results/gain_tuning.json
LEARNING_RATE = {"sft": 3e-4, "bootstrap": 1e-3}
BOOTSTRAP_MIX = 0.3
GRID = {"sft": (1e-4, 3e-4, 1e-3), "bootstrap": (3e-4, 1e-3, 3e-3), "mix": (0.3, 1.0)}


def fit(folder: Path, seed: int, worlds: Path | None, *options: str) -> dict[str, Any]:
    """One run in a process and on a thread of its own; returns its results.json. A finished run is not made again."""
    results = folder / "version_0" / "results.json"
    if (folder / "version_0" / "report.html").exists():
        return json.loads(results.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "swirl_lightning", "fit", "--config", str(CONFIG), "--seed_everything", str(seed)]
    command += ["--trainer.default_root_dir", str(folder), "--trainer.enable_progress_bar", "false", *options]
    if worlds:
        command += ["--data.init_args.root", str(worlds)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return json.loads(results.read_text())


def after_warmup(folder: Path, seed: int, worlds: Path | None, warm: Path, *options: str) -> dict[str, Any]:
    """A run that starts from the weights of the warm-up."""
    return fit(folder, seed, worlds, "--trainer.warmup", "[]", "--model.init_from", str(warm), *options)


def single(phase: str, updates: int, learning_rate: float) -> tuple[str, ...]:
    """Options of a run with one stage."""
    stage = f"[{{phase: {phase}, updates: {updates}, learning_rate: {learning_rate}}}]"
    return "--trainer.iteration", stage, "--trainer.iterations", "1"


def budget(results: dict[str, Any]) -> tuple[float, int]:
    """Seconds and gradient tokens of all updates of a run."""
    return sum(s["seconds"] for s in results["stages"]), sum(s["gradient_tokens"] for s in results["stages"])


def warm_up(folder: Path, seed: int, worlds: Path | None) -> tuple[Path, dict[str, Any]]:
    """The warm-up alone: its checkpoint and its last stage."""
    results = fit(folder, seed, worlds, "--trainer.iterations", "0")
    return folder / "version_0" / "checkpoints" / "last.ckpt", results["stages"][-1]


def run_seed(root: Path, seed: int, worlds: Path | None) -> dict[str, Any]:
    """All arms of one seed: the metrics of the last stage, and the compute that each took."""
    warm, warm_stage = warm_up(root / f"{seed}-warm", seed, worlds)
    arms: dict[str, Any] = {"warm-up": (warm_stage["metrics"], 0.0, 0)}

    def add(name: str, *options: str) -> dict[str, Any]:
        results = after_warmup(root / f"{seed}-{name.replace(' ', '-')}", seed, worlds, warm, *options)
        arms[name] = (results["stages"][-1]["metrics"], *budget(results))
        return results

    seconds, tokens = budget(add("swirl"))
    add("swirl + bootstrap", "--model.bootstrap", str(BOOTSTRAP_MIX))
    for phase, name in (("sft", "sft-continue"), ("bootstrap", "bootstrap")):
        # 100 updates tell what one costs
        cost = budget(add(f"{name}, probe", *single(phase, 100, LEARNING_RATE[phase])))
        del arms[f"{name}, probe"]
        for kind, updates in (("tokens", 100 * tokens / cost[1]), ("seconds", 100 * seconds / cost[0])):
            add(f"{name}, equal {kind}", *single(phase, round(updates), LEARNING_RATE[phase]))
    print(f"seed {seed} done", flush=True)
    return {
        "seed": seed,
        "arms": {n: {"metrics": m, "seconds": s, "gradient_tokens": t} for n, (m, s, t) in arms.items()},
    }


def tune_seed(root: Path, seed: int) -> dict[str, Any]:
    """Every value of the grid on the packaged worlds, each baseline for about SWIRL's gradient tokens."""
    warm, warm_stage = warm_up(root / f"{seed}-warm", seed, None)
    arms = {"warm-up": warm_stage["validation"]}
    swirl = after_warmup(root / f"{seed}-swirl", seed, None, warm)
    arms["swirl"] = swirl["stages"][-1]["validation"]
    tokens = budget(swirl)[1]
    for phase in ("sft", "bootstrap"):
        cost = budget(after_warmup(root / f"{seed}-{phase}-probe", seed, None, warm, *single(phase, 50, 3e-4)))[1]
        for value in GRID[phase]:
            options = single(phase, round(50 * tokens / cost), value)
            results = after_warmup(root / f"{seed}-{phase}-{value}", seed, None, warm, *options)
            arms[f"{phase} lr {value}"] = results["stages"][-1]["validation"]
    for value in GRID["mix"]:
        results = after_warmup(root / f"{seed}-mix-{value}", seed, None, warm, "--model.bootstrap", str(value))
        arms[f"swirl + bootstrap {value}"] = results["stages"][-1]["validation"]
    print(f"seed {seed} done", flush=True)
    return {"seed": seed, "arms": {name: {"metrics": metrics} for name, metrics in arms.items()}}


def summary(seeds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per arm and metric: mean and standard deviation over seeds, and in how many of them it rose from the warm-up."""
    rows = []
    for arm in seeds[0]["arms"]:
        for metric in ("fwm/exact_match", "fwm/logp", "idm/exact_match", "idm/logp", "idm/unique"):
            values = [run["arms"][arm]["metrics"][metric] for run in seeds]
            before = [run["arms"]["warm-up"]["metrics"][metric] for run in seeds]
            rows.append(
                {
                    "arm": arm,
                    "metric": metric,
                    "mean": statistics.mean(values),
                    "sd": statistics.stdev(values) if len(values) > 1 else 0.0,
                    "mean_gain": statistics.mean(v - b for v, b in zip(values, before, strict=True)),
                    "seeds_that_rose": sum(v > b for v, b in zip(values, before, strict=True)),
                }
            )
    return rows


def main() -> None:
    """Run all seeds, two at a time, and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--worlds", type=Path, help="collection that no setting was chosen on; default: the packaged one"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12, 13, 14])
    parser.add_argument("--runs", type=Path, default=Path("runs/gain"), help="where run folders are made")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time, one thread each")
    parser.add_argument("--tune", action="store_true", help="choose the baselines' settings on the validation split")
    options = parser.parse_args()
    args = [(options.runs, seed) if options.tune else (options.runs, seed, options.worlds) for seed in options.seeds]
    with ThreadPoolExecutor(options.jobs) as pool:
        seeds = list(pool.map(lambda a: (tune_seed if options.tune else run_seed)(*a), args))
    rows = summary(seeds)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, one thread a run, {options.jobs} runs at a time"
    options.out.parent.mkdir(parents=True, exist_ok=True)
    command = "python " + " ".join(sys.argv)
    options.out.write_text(
        json.dumps({"command": command, "machine": machine, "summary": rows, "seeds": seeds}, indent=1)
    )
    for row in rows:
        if row["metric"].endswith(("exact_match", "logp")):
            print(
                f"{row['arm']:28} {row['metric']:16} {row['mean']:7.3f} ± {row['sd']:.3f} gain {row['mean_gain']:+.3f} "
                f"rose in {row['seeds_that_rose']} of {len(seeds)}"
            )


if __name__ == "__main__":
    main()
