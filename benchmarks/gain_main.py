"""The command line of the gain benchmarks."""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from threading import Semaphore
from typing import Any

import yaml
from gain_arms import DEFAULT_ARMS, NEEDED, OPTIONAL, Column, Recipe
from gain_lengths import data_module, episodes, measure
from gain_runs import Ledger
from gain_table import tables

PACKAGES = ("swirl-lightning", "torch", "lightning", "transformers", "peft", "tokenizers")


def arguments(description: str | None) -> tuple[argparse.Namespace, list[str]]:
    """The benchmark's own options, and those that every `swirl fit` gets."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
        epilog="all other options go to every `swirl fit`, as in --data.init_args.eval_limit 32",
    )  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder of the environment's transitions")
    parser.add_argument("--model", help="name or folder of the language model; default: the configuration's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    parser.add_argument("--labels", type=int, nargs="+", default=[16, 64, 256], help="labelled episodes")
    parser.add_argument(
        "--arms",
        nargs="+",
        choices=(*DEFAULT_ARMS, *OPTIONAL),
        default=DEFAULT_ARMS,
        help=f"with {' and '.join(NEEDED)}",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="results, written after every arm and read at the start"
    )
    parser.add_argument("--runs", type=Path, help="where run folders are made; default: runs/<name of --out>")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time, one thread each")
    parser.add_argument("--tune", action="store_true", help="try learning rates and show the validation split")
    options, others = parser.parse_known_args()
    options.runs = options.runs or Path("runs") / options.out.stem
    return options, others


def settings_of(recipe: Recipe, options: argparse.Namespace, others: list[str]) -> dict[str, Any]:
    """What the numbers depend on; a file of results holds one setting."""
    record = options.data / "collection.json"
    return {
        "config": {"file": recipe.config.name, "sha256": sha256(recipe.config)},
        "recipe": {key: value for key, value in asdict(recipe).items() if key != "config"},
        "data": {"folder": str(options.data), "collection_sha256": sha256(record) if record.exists() else None},
        "model": options.model,
        "options": others,
        "split": "validation" if options.tune else "test",
    }


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def data_options(options: argparse.Namespace, others: list[str]) -> dict[str, Any]:
    """Arguments of the data module: the folder, and what was given as --data.init_args.NAME VALUE."""
    given = {}
    words = [part for word in others for part in word.split("=", 1)]
    for name, value in pairwise(words):
        if name.startswith("--data.init_args."):
            given[name.rpartition(".")[2]] = yaml.safe_load(value)
    return {"path": options.data, **given}


def main(recipe: Recipe, description: str | None) -> None:
    """Make all columns, as many at a time as there are jobs, and print the tables."""
    options, others = arguments(description)
    about = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread a run, {options.jobs} runs at a time",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "settings": settings_of(recipe, options, others),
    }
    ledger = Ledger(options.out, about)
    given = data_options(options, others)
    there = episodes(data_module(recipe.config, **given), "labelled")
    numbers = sorted({min(number, there) for number in options.labels})

    slots = Semaphore(options.jobs)

    def column(seed: int, labels: int) -> None:
        chosen: dict[str, Any] = {"path": options.data, "num_labels": None, "num_label_episodes": labels}
        data = data_module(recipe.config, **(given | chosen), seed=seed)
        fixed = ["--config", str(recipe.config), "--seed_everything", str(seed)]
        if not options.tune:  # what is not reported need not be measured
            fixed += ["--data.init_args.validation_limit", "1"]
        for name, value in chosen.items():
            fixed += [f"--data.init_args.{name}", "null" if value is None else str(value)]
        if options.model:
            fixed += ["--model.base.init_args.name", options.model]
        lengths = measure(recipe.config, data, options.model)
        folder = options.runs / f"labels{labels}-seed{seed}"
        made = Column(recipe, seed, labels, lengths, (*fixed, *others), folder, ledger, slots)
        if options.tune:
            made.tune()
        else:
            made.run(tuple(options.arms))

    for labels in numbers:  # few labels and all seeds first: what is cut off is then still a table
        with ThreadPoolExecutor(len(options.seeds)) as pool:
            for each in [pool.submit(column, seed, labels) for seed in options.seeds]:
                each.result()
    page = tables(ledger.content)
    options.out.with_suffix(".md").write_text(page)
    print(page)
