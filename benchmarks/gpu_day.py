"""Everything that has never been run on a GPU, in order of worth, within a number of minutes.

    python benchmarks/gpu_day.py --minutes 480 --out benchmarks/results/gpu_day.json

Each part runs in a process of its own with a time limit, so that none can take the others with it, and the file of
results is written after every part. Parts that the file has done already, by an earlier call, are not run again. Models
have random weights of their true shape: nothing is downloaded. Needs ``pip install 'swirl-lightning[bench]'``, and disk
space of 20 GB for the temporary files.

``--dry_run``, which is what happens without a GPU, runs the same parts with tiny shapes on the processor, to see that
nothing but the GPU is missing. Its figures mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import results_file
import torch
import yaml
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
PACKAGES = ("swirl-lightning", "torch", "lightning", "transformers", "peft", "bitsandbytes")
TAIL = 2000
"""Characters of a failed part's output that are kept."""


class Part(NamedTuple):
    """A piece of work.

    Args:
        minutes: after which it is ended.
        run: does it in this process and returns what JSON can hold; it is told whether this is a dry run.
    """

    minutes: float
    run: Callable[[bool], Any]


def smoke(config: str) -> Part:
    """An update of each phase of a configuration, and its peaks beside the plan."""

    def run(dry_run: bool) -> Any:
        from gpu_day_fit import fit_part

        return fit_part(config, dry_run)

    return Part(40, run)


def long_update(engine: str) -> Part:
    """Updates with completions of 1,024 tokens, as many as the codes of a picture, 8 a group, in one engine form."""

    def run(dry_run: bool) -> Any:
        from gpu_day_fit import fit_part

        sizes = {
            "model.max_tokens": 256 if dry_run else 1024 + 1024 + 256,
            "model.fwm.init_args.max_new_tokens": 16 if dry_run else 1024,
            "model.fwm.init_args.grpo.group_size": 2 if dry_run else 8,
            "model.idm.init_args.grpo.group_size": 2 if dry_run else 8,
        }
        return fit_part("tool", dry_run, sizes | {"model.engine": engine})

    return Part(40, run)


def pictures(dry_run: bool) -> Any:
    """Updates of Liquid's shape on pictures of 1,024 codes, its VQ network beside it."""
    from gpu_day_pictures import pictures_part

    return pictures_part(dry_run)


def nf4(dry_run: bool) -> Any:
    """A base in nf4 beside one in bfloat16."""
    from gpu_day_nf4 import nf4_part

    return nf4_part(dry_run)


def decoding(dry_run: bool) -> Any:
    """Decoding steps as a CUDA graph and not; on a processor there is no graph, and one tiny point."""
    if not dry_run:
        return script("decoding.py")
    from decoding import compare
    from gpu_day_fit import TINY, qwen2

    model = AutoModelForCausalLM.from_config(qwen2(TINY)).eval()
    return {"points": [compare(model, {"prompt": 12, "group": 3, "tokens": 5}, repeats=1)]}


def trl(dry_run: bool) -> Any:
    """The table against TRL, which needs a GPU and TRL."""
    if dry_run:
        return {"skipped": "no GPU here"}
    return script("vs_trl.py", "--case", "gpu")


def script(name: str, *options: str) -> Any:
    """What another benchmark writes.

    Raises:
        RuntimeError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        code = subprocess.run([sys.executable, str(HERE / name), *options, "--out", str(out)]).returncode
        found = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    if code:
        raise RuntimeError(f"{name} ended with {code}; it found {json.dumps(found)[:TAIL]}")
    return found


def gpu_configs() -> list[str]:
    """Configurations of texts that ask for a GPU, those of fewer worlds first; pictures have a part of their own."""
    found = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in (ROOT / "configs").glob("*.yaml")}
    asking = [
        name
        for name, its in found.items()
        if its["trainer"]["accelerator"] == "gpu" and its["model"]["base"]["class_path"].endswith(".PretrainedLM")
    ]
    return sorted(asking, key=lambda name: (len(name), name))


def parts() -> dict[str, Part]:
    """All parts, the most worthwhile first: whether it runs at all, what it takes, how fast it is."""
    first, *others = gpu_configs()
    return {
        f"smoke:{first}": smoke(first),
        "nf4": Part(20, nf4),
        "pictures": Part(60, pictures),
        **{f"smoke:{config}": smoke(config) for config in others},
        "decoding": Part(40, decoding),
        **{f"long:{engine}": long_update(engine) for engine in ("auto", "plain")},
        "trl": Part(180, trl),
    }


def run_all(
    wanted: Iterable[str], minutes: float, out: Path, dry_run: bool, about: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Run parts one after the other and write the file after each.

    Returns:
        Of each part ``status`` (``done``, ``skipped``, ``failed``, ``timed out`` or ``no time left``), seconds, and
        what it found, or the end of what it said.
    """
    until = time.monotonic() + 60 * minutes
    found = done_before(out, dry_run)
    for name in wanted:
        if name in found:
            print(f"{name}: done before", flush=True)
            continue
        left = until - time.monotonic()
        limit = min(60 * parts()[name].minutes, left)
        print(f"{name}: at most {limit / 60:.1f} minutes", flush=True)
        found[name] = run_part(name, limit, dry_run) if left > 0 else {"status": "no time left"}
        print(f"{name}: {found[name]['status']}", flush=True)
        results_file.write(out, about | {"dry_run": dry_run, "parts": found}, depth=4)
    return found


def run_part(name: str, limit: float, dry_run: bool) -> dict[str, Any]:
    """One part in a process group of its own, which ends with it."""
    with tempfile.TemporaryDirectory() as folder:
        result, said = Path(folder) / "result.json", Path(folder) / "said"
        command = [sys.executable, str(Path(__file__)), "--part", name, "--out", str(result)]
        environment = os.environ | {"TMPDIR": folder}  # what a part that is ended leaves goes with the folder
        started = time.monotonic()
        with said.open("wb") as file:
            process = subprocess.Popen(
                [*command, *(["--dry_run"] if dry_run else [])], stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True, env=environment,
            )  # fmt: skip
            try:
                process.wait(limit)
                status = "failed" if process.returncode else "done"
            except subprocess.TimeoutExpired:
                status = "timed out"
            finally:
                with contextlib.suppress(ProcessLookupError):  # all of it has ended
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        seconds = time.monotonic() - started
        if status == "done" and result.is_file():
            found = json.loads(result.read_text(encoding="utf-8"))
            return {"status": "skipped" if "skipped" in found else status, "seconds": seconds, "found": found}
        status = "failed" if status == "done" else status
        return {"status": status, "seconds": seconds, "said": said.read_text("utf-8", errors="replace")[-TAIL:]}


def done_before(out: Path, dry_run: bool) -> dict[str, dict[str, Any]]:
    """Parts that an earlier call has done, of the same kind."""
    if not out.is_file():
        return {}
    before = json.loads(out.read_text(encoding="utf-8"))
    if before["dry_run"] != dry_run:
        return {}
    return {name: part for name, part in before["parts"].items() if part["status"] == "done"}


def main() -> int:
    """Run what is asked. Returns 0 where every part is done (skipped, in a dry run), else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=480)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(parts()), help="these parts alone, in the order given")
    parser.add_argument("--dry_run", action="store_true", help="tiny shapes on the processor; always so without a GPU")
    parser.add_argument("--part", choices=list(parts()), help=argparse.SUPPRESS)
    options = parser.parse_args()
    dry_run = options.dry_run or not torch.cuda.is_available()
    if options.part:
        try:
            results_file.write(options.out, parts()[options.part].run(dry_run), depth=4)
        except Exception:
            traceback.print_exc()
            return 1
        return 0
    about = {
        "command": shlex.join(["python", *sys.argv]),
        "device": "none: a dry run" if dry_run else torch.cuda.get_device_name(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }
    found = run_all(options.only or parts(), options.minutes, options.out, dry_run, about)
    well = ("done", "skipped") if dry_run else ("done",)
    return 0 if all(part["status"] in well for part in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
