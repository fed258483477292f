"""What each phase adds to a pretrained language model that has finished its warm-up.

    python benchmarks/phase_gain.py --world rooms --model FOLDER_OR_NAME --out benchmarks/results/phase_gain_rooms.json
    python benchmarks/phase_gain.py --show benchmarks/results/phase_gain_rooms.json   # the table, without a run

The worlds are those of the configurations for a CPU: TextWorld as it comes with the package; pages of MiniWoB++,
ScienceWorld and the calls of an MCP server as `swirl collect` writes them (`--data`). 200 held-out transitions. Every
arm of a seed begins with the weights of the same warm-up, which ran until the validation rows no longer improved. Each
stage after it has 60 updates of 16 transitions. One `swirl fit` is one process on one thread; a finished arm is written
at once, and a benchmark that was cut off goes on where it was when its command is given again. All other options go to
every `swirl fit`.
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
from typing import Any, NamedTuple

from gain_runs import Ledger, Results, checkpoint, fit, monitored, schedule

CONFIGS = Path(__file__).parents[1] / "configs"
WORLDS = {"rooms": "textworld.yaml", "pages": "web-cpu.yaml", "lab": "physics-cpu.yaml", "calls": "tool-cpu.yaml"}
SHARES = {"FWM exact match": "fwm/exact_match", "FWM delta F1": "fwm/delta_f1", "IDM exact match": "idm/exact_match"}
LOGPS = {"FWM log-prob": "fwm/logp", "IDM log-prob": "idm/logp"}
UNGATED = ("--trainer.callbacks", json.dumps([{"class_path": "swirl_lightning.callbacks.PhaseCheckpoint"}]))
"""No gate: what a phase does is to be seen."""


def stage(phase: str, learning_rate: float, updates: int = 60) -> Results:
    return {"phase": phase, "updates": updates, "batch_size": 16, "learning_rate": learning_rate, "until": None}


def role(name: str, **options: float | str) -> tuple[str, ...]:
    return tuple(word for key, value in options.items() for word in (f"--model.{name}.init_args.{key}", str(value)))


PLAIN = (
    "--model.reward.init_args.normalize", "mean", "--model.reward.init_args.floor", "-10.0",
    "--model.reward.init_args.precision", "float32",
    *role("fwm", **{"grpo.group_size": 8, "grpo.beta": 0.04, "grpo.min_spread": 0.1}),
    *role("idm", **{"sampling.temperature": 2.0, "sampling.top_k": 10, "grpo.group_size": 8, "grpo.min_spread": 0.1}),
    *role("idm", **{"grpo.beta": 0.1, "grpo.kl": "loss", "grpo.advantage_scale": "group"}),
)  # fmt: skip
"""The method's own form: means of log-probs, a group's scale, KL in the loss; hot enough that draws differ."""
NEXT_STATE = ("--model.vim_reward", json.dumps({"class_path": "swirl_lightning.rewards.NextStateReward"}))
"""The VIM phase rewards how near the next state comes to the one that was observed."""


class Arm(NamedTuple):
    """One way on.

    Args:
        start: the arm whose weights it begins with.
        stages: what it does.
        options: of its run.
    """

    start: str
    stages: tuple[Results, ...]
    options: tuple[str, ...] = ()


ARMS = {
    "bootstrap": Arm("warm-up", (stage("bootstrap", 2e-4),)),
    "bootstrap, elbo": Arm("bootstrap", (stage("elbo", 1e-4),)),
    "bootstrap, as long": Arm("warm-up", (stage("bootstrap", 2e-4, 120),)),
    "sft-continue": Arm("warm-up", (stage("sft", 5e-5),)),
    "sft-continue, as long": Arm("warm-up", (stage("sft", 5e-5, 120),)),
    "vim, elbo": Arm("warm-up", (stage("vim", 1e-4), stage("elbo", 1e-4)), PLAIN),
    "vim, the canonical edit read": Arm("warm-up", (stage("vim", 1e-4),), (*PLAIN, *role("idm", reads="delta"))),
    "vim for the next state": Arm("warm-up", (stage("vim", 1e-4),), (*PLAIN, *NEXT_STATE)),
}


def run(seed: int, arms: list[str], config: Path, options: tuple[str, ...], folder: Path, ledger: Ledger) -> None:
    """The arms of a seed, one after the other; those that others begin with come first, wanted or not."""
    fixed = ("--config", str(config), "--seed_everything", str(seed), *options)
    make(seed, "warm-up", (*fixed, "--trainer.iteration", "[]", "--trainer.iterations", "0"), folder, ledger)
    for name, arm in ARMS.items():
        wanted = name in arms or name in {ARMS[other].start for other in arms}
        if wanted:
            start = ("--model.init_from", str(checkpoint(folder / arm.start)))
            make(seed, name, (*fixed, *UNGATED, *schedule(*arm.stages), *arm.options, *start), folder, ledger)


def make(seed: int, name: str, options: tuple[str, ...], folder: Path, ledger: Ledger) -> None:
    """One run, unless its results and its weights are at hand."""
    if ledger.find(seed=seed, arm=name) and checkpoint(folder / name).exists():
        return
    fit(folder / name, *options)
    stages = monitored(folder / name)
    if not ledger.find(seed=seed, arm=name):
        ledger.add({"seed": seed, "arm": name, "options": made_with(options), "stages": stages})
        print(f"seed {seed}: {name} done", flush=True)


def made_with(options: tuple[str, ...]) -> tuple[str, ...]:
    """The options without the machine's paths, which end in the one of the warm-up."""
    paths = ("--model.init_from", "--model.base.init_args.name", "--data.init_args.path")
    places = [options.index(word) for word in paths if word in options]
    return tuple(o for i, o in enumerate(options[2:], 2) if not any(i in (at, at + 1) for at in places))


def table(content: Results) -> str:
    """Mean ± standard deviation over seeds of the last stage of each arm; in brackets the gain in points."""
    rows: list[Results] = content["rows"]
    last = {(row["seed"], row["arm"]): row["stages"][-1]["metrics"] for row in rows}
    shown = [metric for metric in SHARES.values() if all(metric in metrics for metrics in last.values())]
    titles = [title for title, metric in SHARES.items() if metric in shown]
    head = ("after", "seeds", *titles, *LOGPS, "seconds", "gradient tokens")
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for name in ("warm-up", *ARMS):
        seeds = sorted(seed for seed, arm in last if arm == name)
        if not seeds:
            continue
        cells = []
        for metric in shown:
            after, before = ([last[seed, arm][metric] for seed in seeds] for arm in (name, "warm-up"))
            gains = [100 * (a - b) for a, b in zip(after, before, strict=True)]
            rose = f" ({spread(gains, '+.1f')}; {sum(g > 0 for g in gains)} of {len(gains)})" if any(gains) else ""
            cells.append(spread(after, ".3f") + rose)
        cells += [f"{statistics.mean(last[seed, name][metric] for seed in seeds):.3f}" for metric in LOGPS.values()]
        seconds, tokens = zip(*(cost(rows, seed, name) for seed in seeds), strict=True)
        if name != "warm-up":
            cells += [f"{statistics.mean(seconds):.0f}", f"{statistics.mean(tokens) / 1e3:.0f} k"]
        else:
            cells += ["", ""]
        lines.append(f"| {name} | {', '.join(map(str, seeds))} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def spread(values: list[float], form: str) -> str:
    mean = format(statistics.mean(values), form)
    return mean if len(values) < 2 else f"{mean} ± {format(statistics.stdev(values), form.lstrip('+'))}"


def cost(rows: list[Results], seed: int, name: str) -> tuple[float, int]:
    """Seconds and gradient tokens since the warm-up, those of the arm that it begins with included."""
    if name == "warm-up":
        return 0.0, 0
    (row,) = (row for row in rows if row["seed"] == seed and row["arm"] == name)
    seconds, tokens = cost(rows, seed, ARMS[name].start)
    own = row["stages"]
    return seconds + sum(s["seconds"] for s in own), tokens + sum(s["gradient_tokens"] for s in own)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--show", type=Path, help="print the table of a file of results, and run nothing")
    parser.add_argument("--world", choices=tuple(WORLDS), default="rooms")
    parser.add_argument("--data", help="folder of the world's transitions; rooms need none")
    parser.add_argument("--model", help="name or folder of the language model; default: the configuration's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--arms", nargs="+", choices=tuple(ARMS), default=list(ARMS))
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/phase_gain_<world>.json")
    parser.add_argument("--runs", type=Path, help="where run folders are made; default: runs/phase_gain_<world>")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="seeds at a time, one thread each")
    options, others = parser.parse_known_args()
    if options.show:
        content = json.loads(options.show.read_text())
        print(f"`{content['command']}`\n\n{content['machine']}\n\n{table(content)}")
        return
    name = f"phase_gain_{options.world}"
    data = ("--data.init_args.eval_limit", "200", "--data.init_args.validation_limit", "120", *others)
    path = ("--data.init_args.path", options.data) if options.data else ()
    model = ("--model.base.init_args.name", options.model) if options.model else ()
    config = WORLDS[options.world]
    about: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread a run, {options.jobs} seeds at a time",
        "settings": {"config": config, "data": data},
    }
    ledger = Ledger(options.out or Path(f"benchmarks/results/{name}.json"), about)
    runs = options.runs or Path("runs") / name
    fixed = (*data, *path, *model)
    with ThreadPoolExecutor(options.jobs) as pool:
        made = [
            pool.submit(run, seed, options.arms, CONFIGS / config, fixed, runs / f"seed{seed}", ledger)
            for seed in options.seeds
        ]
        for each in made:
            each.result()
    print(table(ledger.content))


if __name__ == "__main__":
    main()
