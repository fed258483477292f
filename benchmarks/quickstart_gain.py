"""Does SWIRL gain on held-out worlds, over seeds, against baselines with the same warm-up and the same compute?

For every seed: the quickstart's warm-up once, then from its weights each arm: the quickstart (SWIRL with the bootstrap
loss mixed into the VIM phase); SWIRL alone; supervised training continued on the labels; and bootstrap (the FWM on the
IDM's own labels of the state-only half, labels mixed in). The last two are measured when they have used the
quickstart's gradient tokens, and again when they have used its seconds.

    python benchmarks/quickstart_gain.py --worlds worlds/seed1 --seeds 10 11 12 13 14 --out benchmarks/results/gain.json
    python benchmarks/quickstart_gain.py --show benchmarks/results/gain.json

``--worlds`` is a folder made by ``swirl collect textworld --out worlds/seed1 --seed 1``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gain_runs import Results, budget, checkpoint, fit, schedule
from gain_table import Point, gains
from results_file import write

Arms = dict[str, dict[str, Any]]
CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
# tuned on the packaged worlds with seeds 0 and 1 (--tune); see benchmarks/results/gain_tuning.json
LEARNING_RATE = {"sft": 3e-4, "bootstrap": 1e-2}
ALONE = ("--model.bootstrap", "0", "--model.fwm.init_args.learning_rate")  # and the learning rate
ALONE_LEARNING_RATE = 1e-3
GRID = {"sft": (1e-4, 3e-4, 1e-3), "bootstrap": (1e-3, 3e-3, 1e-2), "swirl": (1e-3, 3e-3)}


def quickstart(folder: Path, seed: int, worlds: Path | None, *options: str) -> Results:
    """One run of the quickstart's configuration with other options."""
    data = ("--data.init_args.root", str(worlds)) if worlds else ()
    return fit(folder, "--config", str(CONFIG), "--seed_everything", str(seed), *data, *options)


def after_warmup(folder: Path, seed: int, worlds: Path | None, warm: Path, *options: str) -> Results:
    """A run that starts from the weights of the warm-up."""
    return quickstart(folder, seed, worlds, "--trainer.warmup", "[]", "--model.init_from", str(warm), *options)


def stages(phase: str, *updates: int, learning_rate: float) -> tuple[str, ...]:
    """Options of a run with one stage per number of updates; in the bootstrap phase, labels make up a half."""
    made = ({"phase": phase, "updates": n, "learning_rate": learning_rate} for n in updates)
    return *schedule(*made), "--model.fwm.init_args.grpo.anchor", "1"


def warm_up(folder: Path, seed: int, worlds: Path | None) -> tuple[Path, dict[str, Any]]:
    """The warm-up alone: its checkpoint and its last stage."""
    results = quickstart(folder, seed, worlds, "--trainer.iterations", "0")
    return checkpoint(folder), results["stages"][-1]


def measured(stage: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """A stage's metrics and what the run had used by its end."""
    until = results["stages"][: results["stages"].index(stage) + 1]
    seconds, tokens = budget({"stages": until})
    return {"metrics": stage["metrics"], "seconds": seconds, "gradient_tokens": tokens}


def baseline(root: Path, seed: int, worlds: Path | None, warm: Path, phase: str, seconds: float, tokens: int) -> Arms:
    """Supervised arms at equal gradient tokens and at equal seconds."""
    rate, folder = LEARNING_RATE[phase], root / f"{seed}-{phase}"
    probe = after_warmup(
        folder.with_name(f"{folder.name}-probe"), seed, worlds, warm, *stages(phase, 100, learning_rate=rate)
    )
    cost_seconds, cost_tokens = (each / 100 for each in budget(probe))
    first = round(tokens / cost_tokens)
    then = max(round(seconds / cost_seconds) - first, 1)
    results = after_warmup(folder, seed, worlds, warm, *stages(phase, first, then, learning_rate=rate))
    name = {"sft": "sft-continue"}.get(phase, phase)
    points = zip(("tokens", "seconds"), results["stages"], strict=True)
    return {f"{name}, equal {kind}": measured(stage, results) for kind, stage in points}


def run(root: Path, seeds: list[int], worlds: Path | None, pool: ThreadPoolExecutor) -> list[dict[str, Any]]:
    """All arms of all seeds: the metrics of the last stage, and the compute that each took."""
    warm = dict(zip(seeds, pool.map(lambda s: warm_up(root / f"{s}-warm", s, worlds), seeds), strict=True))

    def swirl(seed: int, name: str, *options: str) -> Arms:
        results = after_warmup(root / f"{seed}-{name.replace(' ', '-')}", seed, worlds, warm[seed][0], *options)
        return {name: measured(results["stages"][-1], results)}

    quickstart = dict(zip(seeds, pool.map(lambda s: swirl(s, "swirl + bootstrap"), seeds), strict=True))
    tasks = []
    for seed in seeds:
        used = quickstart[seed]["swirl + bootstrap"]
        share = (root, seed, worlds, warm[seed][0])
        tasks.append(pool.submit(swirl, seed, "swirl alone", *ALONE, str(ALONE_LEARNING_RATE)))
        for phase in ("sft", "bootstrap"):
            tasks.append(pool.submit(baseline, *share, phase, used["seconds"], used["gradient_tokens"]))
    found = []
    for i, seed in enumerate(seeds):
        before = {"warm-up": {"metrics": warm[seed][1]["metrics"], "seconds": 0.0, "gradient_tokens": 0}}
        arms = before | quickstart[seed]
        for task in tasks[3 * i : 3 * i + 3]:
            arms |= task.result()
        found.append({"seed": seed, "arms": arms})
    return found


def tune_seed(root: Path, seed: int) -> dict[str, Any]:
    """Every value of the grid on the packaged worlds, each baseline for about SWIRL's gradient tokens."""
    warm, warm_stage = warm_up(root / f"{seed}-warm", seed, None)
    arms = {"warm-up": warm_stage["validation"]}
    quickstart = after_warmup(root / f"{seed}-quickstart", seed, None, warm)
    arms["swirl + bootstrap"] = quickstart["stages"][-1]["validation"]
    tokens = budget(quickstart)[1]
    for phase in ("sft", "bootstrap"):
        probe = stages(phase, 100, learning_rate=3e-4)
        cost = budget(after_warmup(root / f"{seed}-{phase}-probe", seed, None, warm, *probe))[1]
        for value in GRID[phase]:
            options = stages(phase, round(100 * tokens / cost), learning_rate=value)
            results = after_warmup(root / f"{seed}-{phase}-{value}", seed, None, warm, *options)
            arms[f"{phase} lr {value}"] = results["stages"][-1]["validation"]
    for value in GRID["swirl"]:
        results = after_warmup(root / f"{seed}-swirl-{value}", seed, None, warm, *ALONE, str(value))
        arms[f"swirl alone lr {value}"] = results["stages"][-1]["validation"]
    print(f"seed {seed} done", flush=True)
    return {"seed": seed, "arms": {name: {"metrics": metrics} for name, metrics in arms.items()}}


def table(seeds: list[dict[str, Any]]) -> str:
    """Markdown: what each arm reached, over seeds."""
    arms: dict[str, list[Point]] = {}
    for run in seeds:
        before = run["arms"]["warm-up"]["metrics"]
        for name, arm in run["arms"].items():
            spent = arm.get("seconds", 0.0), arm.get("gradient_tokens", 0)
            arms.setdefault(name, []).append(Point(name, run["seed"], arm["metrics"], before, *spent))
    return gains(arms, "fwm/token_f1")


def main() -> None:
    """Run all seeds, two at a time, write one JSON file and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--worlds", type=Path, help="collection that no setting was chosen on; default: the packaged one"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12, 13, 14])
    parser.add_argument("--runs", type=Path, default=Path("runs/gain"), help="where run folders are made")
    output = parser.add_mutually_exclusive_group(required=True)
    output.add_argument("--out", type=Path, help="the file of results to write")
    output.add_argument("--show", type=Path, help="a file of results whose table is printed; nothing is run")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time, one thread each")
    parser.add_argument("--tune", action="store_true", help="choose the baselines' settings on the validation split")
    options = parser.parse_args()
    if options.show:
        print(table(json.loads(options.show.read_text())["seeds"]))
        return
    with ThreadPoolExecutor(options.jobs) as pool:
        if options.tune:
            seeds = list(pool.map(lambda seed: tune_seed(options.runs, seed), options.seeds))
        else:
            seeds = run(options.runs, options.seeds, options.worlds, pool)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, one thread a run, {options.jobs} runs at a time"
    command = shlex.join(["python", *sys.argv])
    write(options.out, {"command": command, "machine": machine, "seeds": seeds}, depth=4)  # a line an arm
    print(table(seeds))


if __name__ == "__main__":
    main()
