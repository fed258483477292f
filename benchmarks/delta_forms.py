"""What the delta form of a state saves against ``full``, on any data: tokens to write, and with ``--train`` the rest.

    python benchmarks/delta_forms.py --config configs/textworld.yaml
    python benchmarks/delta_forms.py --collection worlds/seed1
    python benchmarks/delta_forms.py --config configs/web-cpu.yaml --train -- --trainer.iterations 1

``--train`` runs the configuration once per form through ``swirl fit`` and reads seconds per update and held-out metrics
from the results; what follows ``--`` is handed on. The FWM may then write as much as the longest answer measured.
The entry of ``--name`` in the JSON file ``--out`` is made or replaced.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser
from results_file import rounded, write

from swirl_lightning.codecs import decode_delta, encode_delta, indent
from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.environments.log import LogDataModule
from swirl_lightning.environments.splits import SPLITS
from swirl_lightning.models import PretrainedLM
from swirl_lightning.types import Transition

FORMS = ("full", "delta")
OUT = Path(__file__).parent / "results" / "delta_forms.json"


def data_of(config: Path) -> TransitionDataModule:
    """The data module of a configuration."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(TransitionDataModule, "data", required=True)
    parsed = parser.parse_object({"data": yaml.safe_load(config.read_text(encoding="utf-8"))["data"]})
    return parser.instantiate(parsed).data


def measure(transitions: Sequence[Transition], count: Callable[[str], int]) -> dict[str, Any]:
    """Both forms of every transition.

    Args:
        transitions: at least one.
        count: the number of tokens of a text.
    """
    edits: list[str] = []
    start = time.perf_counter()
    for t in transitions:
        edits.append(encode_delta(t.state, t.next_state))
    encoded = time.perf_counter()
    for t, edit in zip(transitions, edits, strict=True):
        if decode_delta(t.state, edit) != t.next_state:
            raise RuntimeError(f"episode {t.episode!r} step {t.step}: the edit does not give the next state back")
    decoded = time.perf_counter()
    tokens = {"full": [count(indent(t.next_state)) for t in transitions], "delta": [count(edit) for edit in edits]}
    pairs = zip(tokens["delta"], tokens["full"], strict=True)
    headers = [[line for line in edit.split("\n") if line.startswith("@")] for edit in edits]
    return {
        "transitions": len(edits),
        "lines_of_a_state": statistics.median(t.state.count("\n") + 1 for t in transitions),
        "tokens": {form: spread(counts) for form, counts in tokens.items()},
        "share_with_a_line_number": statistics.fmean(any(h != "@ end" for h in each) for each in headers),
        "share_that_appends": statistics.fmean("@ end" in each for each in headers),
        "share_without_change": statistics.fmean(not edit for edit in edits),
        "share_longer_than_full": statistics.fmean(delta > full for delta, full in pairs),
        "encode_ms": 1000 * (encoded - start) / len(edits),
        "decode_ms": 1000 * (decoded - encoded) / len(edits),
    }


def spread(values: Sequence[int]) -> dict[str, float]:
    """Mean, median, 95th percentile (the value that 95 % do not exceed) and maximum."""
    ordered = sorted(values)
    return {
        "mean": statistics.mean(ordered),
        "median": statistics.median(ordered),
        "p95": ordered[-(-95 * len(ordered) // 100) - 1],
        "max": ordered[-1],
    }


def train(config: Path, form: str, runs: Path, longest: int, options: Iterable[str]) -> dict[str, Any]:
    """One run of the configuration with one form: per stage the seconds per update and the held-out metrics."""
    command = [sys.executable, "-m", "swirl_lightning", "fit", "--config", str(config), "--model.state_form", form]
    command += ["--model.fwm.init_args.max_new_tokens", str(longest + 1)]  # and the end token
    command += ["--trainer.default_root_dir", str(runs / form), *options]
    subprocess.run(command, check=True)
    run = max((runs / form).glob("version_*"), key=lambda folder: int(folder.name.removeprefix("version_")))
    stages = json.loads((run / "results.json").read_text(encoding="utf-8"))["stages"]
    return {
        "command": command[1:],
        "stages": [
            {
                "stage": stage["stage"],
                "seconds_per_update": stage["seconds"] / max(stage["updates"], 1),
                "gradient_tokens": stage["gradient_tokens"],
                "metrics": stage["metrics"],
            }
            for stage in stages
        ],
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, write the file and return the new entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", type=Path, help="whose data is measured")
    source.add_argument("--collection", type=Path, help="a folder with one file a split")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--name", help="of the entry; the file's or folder's name where none is given")
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct", help="whose tokenizer counts")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--train", action="store_true", help="also train with both forms; needs --config")
    parser.add_argument("--runs", type=Path, default=Path("runs/delta_forms"), help="of --train")
    parser.add_argument("options", nargs="*", help="after --: options of swirl fit, for --train")
    args = parser.parse_args(arguments)
    if args.train and not args.config:
        parser.error("--train needs --config")
    data = data_of(args.config) if args.config else LogDataModule(args.collection)
    tokenizer = PretrainedLM(args.model).tokenizer((), ())
    entry = measure(data.load(args.split), lambda text: len(tokenizer.encode(text, add_special_tokens=False)))
    entry = {"split": args.split, "tokenizer": args.model, "machine": platform.machine(), **entry}
    if args.train:
        longest = {form: int(entry["tokens"][form]["max"]) for form in FORMS}
        entry["runs"] = {form: train(args.config, form, args.runs, longest[form], args.options) for form in FORMS}
    entries = json.loads(args.out.read_text(encoding="utf-8")) if args.out.is_file() else {}
    entries[args.name or (args.config.stem if args.config else args.collection.name)] = entry = rounded(entry)
    write(args.out, entries, depth=3)
    return entry


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
