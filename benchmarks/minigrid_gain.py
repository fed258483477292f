"""What each phase adds to a small model of MiniGrid's pictures, over seeds, at equal gradient tokens.

    swirl collect minigrid --out worlds/minigrid
    python benchmarks/minigrid_gain.py --data worlds/minigrid --out benchmarks/results/minigrid_gain.json
    python benchmarks/minigrid_gain.py --show benchmarks/results/minigrid_gain.json   # the table, without a run

Every arm of a seed begins with the weights of one warm-up, that of configs/minigrid.yaml. Each takes about 1.06 million
gradient tokens, what two iterations of SWIRL with the bootstrap loss take; without that loss it takes less. One
`swirl fit` is one process on one thread; a finished arm is written at once, and a benchmark that was cut off goes on
where it was when its command is given again. 400 transitions of held-out layouts. All other options go to every run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gain_runs import Ledger, Results, budget, checkpoint, schedule
from phase_gain import UNGATED, make

CONFIG = Path(__file__).parents[1] / "configs" / "minigrid.yaml"
METRICS = {
    "FWM exact match": ("fwm/exact_match", 3),
    "changed cells": ("fwm/changed_cells", 3),
    "PSNR, dB": ("fwm/psnr", 1),
    "IDM exact match": ("idm/exact_match", 3),
    "IDM log-prob": ("idm/logp", 3),
}
VIM = {"phase": "vim", "updates": 150}
ELBO = {"phase": "elbo", "updates": 100}
ARMS: dict[str, tuple[str, ...]] = {
    "SFT-continue": schedule({"phase": "sft", "updates": 660, "learning_rate": 1e-3}),
    "bootstrap": schedule({"phase": "bootstrap", "updates": 660}),
    "SWIRL alone": (*schedule(VIM, ELBO, iterations=2), "--model.bootstrap", "0"),
    "SWIRL with the bootstrap loss": (*schedule(VIM, ELBO, iterations=2), "--model.bootstrap", "1"),
    "bootstrap and elbo in turn": schedule({"phase": "bootstrap", "updates": 230}, ELBO, iterations=2),
}
"""The options of each arm, beside those of the configuration."""


def run(seed: int, arms: list[str], options: tuple[str, ...], folder: Path, ledger: Ledger) -> None:
    """The arms of a seed, one after the other."""
    fixed = ("--config", str(CONFIG), "--seed_everything", str(seed), *UNGATED, *options)
    make(seed, "warm-up", (*fixed, "--trainer.iterations", "0"), folder, ledger)
    start = ("--trainer.warmup", "[]", "--model.init_from", str(checkpoint(folder / "warm-up")))
    for name in arms:
        make(seed, name, (*fixed, *start, *ARMS[name]), folder, ledger)


def table(content: Results) -> str:
    """Mean and standard deviation over seeds of the last stage of each arm; in brackets in how many seeds it rose."""
    found = {(row["seed"], row["arm"]): row for row in content["rows"]}
    lines = ["| after | seeds | " + " | ".join(METRICS) + " | gradient tokens |", "|" + " --- |" * (len(METRICS) + 3)]
    for name in ("warm-up", *ARMS):
        seeds = sorted(seed for seed, arm in found if arm == name)
        if not seeds:
            continue
        cells = []
        for metric, digits in METRICS.values():
            after, before = (
                [found[seed, arm]["stages"][-1]["metrics"][metric] for seed in seeds] for arm in (name, "warm-up")
            )
            rose = sum(a > b for a, b in zip(after, before, strict=True))
            deviation = f" ± {statistics.stdev(after):.{digits}f}" if len(after) > 1 else ""
            told = "" if name == "warm-up" else f" ({rose} of {len(seeds)})"
            cells.append(f"{statistics.mean(after):.{digits}f}{deviation}{told}")
        tokens = statistics.mean(budget(found[seed, name])[1] for seed in seeds)
        lines.append(f"| {name} | {', '.join(map(str, seeds))} | {' | '.join(cells)} | {tokens / 1e6:.2f} M |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--show", type=Path, help="print the table of a file of results, and run nothing")
    parser.add_argument("--data", default="worlds/minigrid", help="what swirl collect minigrid wrote")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 4, 5, 6])
    parser.add_argument("--arms", nargs="+", choices=tuple(ARMS), default=list(ARMS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/minigrid_gain.json"))
    parser.add_argument("--runs", type=Path, default=Path("runs/minigrid_gain"), help="where run folders are made")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="seeds at a time, one thread each")
    options, others = parser.parse_known_args()
    if options.show:
        content = json.loads(options.show.read_text())
        print(f"`{content['command']}`\n\n{content['machine']}\n\n{table(content)}")
        return
    about: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread a run, {options.jobs} seeds at a time",
        "settings": {"config": CONFIG.name, "options": others},
    }
    ledger = Ledger(options.out, about)
    fixed = ("--data.init_args.path", options.data, *others)
    with ThreadPoolExecutor(options.jobs) as pool:
        made = [
            pool.submit(run, seed, options.arms, fixed, options.runs / f"seed{seed}", ledger) for seed in options.seeds
        ]
        for each in made:
            each.result()
    print(table(ledger.content))


if __name__ == "__main__":
    main()
