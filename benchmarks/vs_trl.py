"""Seconds and memory of one GRPO update against TRL's GRPOTrainer, doing the same work.

Both sides have the same model, float32, LoRA adapters (policy, reference, frozen scorer; one base for all three),
prompts, number of sampled tokens, beta and loss. They run in two processes that make one update each in turn. First
both get the same completions and advantages, and rewards, loss and adapter gradient are compared.

    python benchmarks/vs_trl.py --case elbo --out benchmarks/results/vs_trl_elbo.json

Needs ``pip install 'swirl-lightning[bench]'``.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import platform
import random
import shlex
import sys
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from results_file import write
from vs_trl_report import CHECKED, check_failures, compare, judged, multiply_add_rate, overall, summary
from vs_trl_textworld import textworld_works
from vs_trl_work import QWEN_7B, Loaded, Update, Work, random_completions, random_groups, random_rewards, trl_rows

from swirl_lightning.types import Role

MODULES = {"ours": "vs_trl_ours", "trl": "vs_trl_peer"}
PACKAGES = ("swirl-lightning", "torch", "transformers", "peft", "trl", "accelerate")
WARM_UP, UPDATES = 1, 5
TOLERANCE = {"cpu": 1e-3, "gpu": 5e-2}  # of the check, relative: in float32, and in nf4 with bfloat16
VOCABULARY = 49152
CHECK_PROMPT, CHECK_SCORED = 64, 32
TRL_GPU_ROWS = 4


class Case(NamedTuple):
    """One point of the grid, with one prompt an update.

    Args:
        role: ``idm`` learns in the ELBO phase, ``fwm`` in the VIM phase.
        prompt: tokens.
        completion: tokens.
        group: completions.
        scored: tokens of the prompt, its last, that the frozen scorer is asked for.
        targets: how many times as fast as TRL, and with how much of its memory; None sets no target.
    """

    role: Role
    prompt: int
    completion: int
    group: int
    scored: int
    targets: tuple[float, float | None] = (1.0, None)


CASES = {
    "elbo": Case("idm", 1024, 16, 16, 512, (8.0, 1 / 4)),
    "elbo-small": Case("idm", 512, 16, 8, 256, (6.0, 1 / 3)),
    "vim": Case("fwm", 512, 128, 8, 16, (3.0, 2 / 5)),
    "vim-short": Case("fwm", 128, 128, 8, 16, (1.2, 1.0)),
    "growth": Case("idm", 1024, 16, 8, 32),
    "check": Case("idm", 64, 8, 4, 32),
}
GROWN, GROWTH = 64, 2.5  # an update of so many completions takes at most so many times one of 8
GPU_CASES = [
    case
    for prompt in (1024, 4096)
    for group in (16, 64)
    for case in (Case("idm", prompt, 32, group, prompt // 2), Case("fwm", prompt, 256, group, 16))
]
GPU_MEMORY_MIB = 22 * 1024  # of a 24 GB card


def work_of(case: Case, model: str) -> Work:
    """A case's updates: random prompts, one an update, after a short one for the check."""
    rng = random.Random(0)
    shapes = [(CHECK_PROMPT, CHECK_SCORED)] + [(case.prompt, case.scored)] * (WARM_UP + UPDATES + 1)
    updates = tuple(random_groups(prompt, scored, VOCABULARY, rng) for prompt, scored in shapes)
    completions = random_completions(1, case.group, case.completion, rng)
    rows = TRL_GPU_ROWS if model == QWEN_7B else trl_rows(case.group, case.prompt + case.completion)
    return Work(
        role=case.role, model=model, checkpoint=None, updates=updates, completions=completions,
        rewards=random_rewards(completions, rng), group_size=case.group, max_tokens=case.completion, eos=-1, beta=0.1,
        micro_batch=rows,
    )  # fmt: skip


class Side:
    """One side in a process of its own, which uses no CPU until it is asked."""

    def __init__(self, name: str, work: Work) -> None:
        context = multiprocessing.get_context("spawn")
        self.name, self.work = name, work
        self.connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(MODULES[name], work, other), daemon=True)
        self.process.start()
        other.close()
        self.loaded: Loaded = self._receive()
        self.updates: list[Update] = []

    def ask(self, method: str, index: int) -> Any:
        """What the side answers."""
        self.connection.send((method, index))
        return self._receive()

    def close(self) -> None:
        """End the process."""
        self.connection.close()
        self.process.join(timeout=30)
        self.process.terminate()

    def _receive(self) -> Any:
        try:
            return self.connection.recv()
        except EOFError as error:
            raise RuntimeError(f"{self.name}: the process has ended; what it said stands above") from error


def serve(module: str, work: Work, connection: Any) -> None:
    """The body of a side's process."""
    try:
        importlib.import_module(module).serve(work, connection)
    except EOFError:  # nobody asks any more
        sys.exit()


def measure(sides: dict[str, tuple[str, Work]], updates: int = UPDATES) -> dict[str, Any]:
    """Check the sides against each other, then let them make updates in turn.

    Args:
        sides: of each label, the side's name and its work; the first is ours.
        updates: how many are timed.

    Returns:
        What was measured of each label, and of ``check``.
    """
    running = {label: Side(name, work) for label, (name, work) in sides.items()}
    try:
        checked = {label: side.ask("update", 0) for label, side in running.items()}
        found: dict[str, Any] = {"check": compare(checked["ours"], checked["trl"]) if "trl" in checked else {}}
        if updates:
            for index in range(1, 1 + WARM_UP + updates):
                for label, side in running.items():
                    side.updates.append(side.ask("update", index))
                    print(f"update {index} {label}: {sum(side.updates[-1].seconds.values()):.2f} s", flush=True)
            found |= {label: summary(side.work, side.loaded, side.updates[WARM_UP:]) for label, side in running.items()}
            found["ours"]["profile"] = running["ours"].ask("profile", 1 + WARM_UP + updates)
    finally:
        for side in running.values():
            side.close()
    return found


def points_of(name: str, model: str, folder: Path) -> list[tuple[dict[str, Any], tuple[float, float | None], Work]]:
    """The points of a case: what they are called, their targets, and the work."""
    if name == "textworld":
        works = textworld_works(model, folder)
        return [({"role": w.role, "prompts": len(w.updates[1]), "group": w.group_size}, (1.0, None), w) for w in works]
    cases, model = (GPU_CASES, QWEN_7B) if name == "gpu" else ([CASES[name]], model)
    return [({k: v for k, v in c._asdict().items() if k != "targets"}, c.targets, work_of(c, model)) for c in cases]


def run_case(name: str, model: str) -> dict[str, Any]:
    """All points of a case, in one dictionary that JSON can hold."""
    if name == "gpu" and not torch.cuda.is_available():
        skipped = [case._asdict() for case in GPU_CASES]
        return {"skipped": f"no GPU here: {len(skipped)} points with {QWEN_7B} in nf4", "points": skipped}
    if name == "check":
        work = replace(work_of(CASES[name], model), micro_batch=2)
        return {"points": [measure({"ours": ("ours", work), "trl": ("trl", work)}, updates=0)]}
    rate = multiply_add_rate(name == "gpu")
    points = []
    with tempfile.TemporaryDirectory() as folder:
        for about, targets, work in points_of(name, model, Path(folder)):
            sides = {"ours": ("ours", work), "trl": ("trl", work)}
            if name == "growth":
                sides["ours_grown"] = ("ours", work_of(CASES[name]._replace(group=GROWN), model))
            named = dict(zip(("speedup", "memory_ratio"), targets, strict=True))
            points.append(judged(about, named, work, measure(sides), rate))
    found = overall(points) | {"multiply_adds_per_second": rate, "points": points}
    if name == "growth":
        grown, plain = points[0]["ours_grown"], points[0]["ours"]
        growth = grown["seconds"] / plain["seconds"]
        distinct = grown["distinct_share"] == plain["distinct_share"] == 1
        found |= {"growth": growth, "growth_target": GROWTH, "growth_met": growth <= GROWTH and distinct}
    if name == "gpu":
        found["under_22_gib"] = all(point["ours"]["peak_memory_mib"] < GPU_MEMORY_MIB for point in points)
    return found


def main() -> None:
    """Run one case and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=[*CASES, "textworld", "gpu"], required=True)
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct", help="or a folder with one GGUF file")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    # for the sides, which read them as they start: their threads take a core each; this process stays free
    os.environ |= {"OMP_PROC_BIND": "true", "OMP_PLACES": "cores"}
    about = {
        "case": options.case,
        "command": shlex.join(["python", *sys.argv]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }
    found = run_case(options.case, options.model)
    write(options.out, about | found, depth=4)
    if "skipped" in found:
        print(f"skipped: {found['skipped']}")
        return
    for point in found["points"]:
        print("check:", ", ".join(f"{key} {point['check'][key]:.1e}" for key in CHECKED))
        if "speedup" in point:
            print(
                f"{point['point']}: {point['speedup']:.2f} times as fast, {point['memory_ratio']:.2f} of the memory, "
                f"{point['times_the_floor']:.1f} times the floor"
            )
    if "growth" in found:
        print(f"an update with G={GROWN} takes {found['growth']:.2f} times one with G={CASES['growth'].group}")
    checks = [point["check"] for point in found["points"]]
    if failures := check_failures(checks, TOLERANCE["gpu" if options.case == "gpu" else "cpu"]):
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
