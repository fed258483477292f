"""Commands that write where nothing can be written, or not enough."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from reliability_runs import Bench, Case, Prepare, Started

NOBODY = 65534
FILES = (
    "history.jsonl",
    "samples.jsonl",
    "results.json.partial",
    "config.yaml",
    "report.html",
    "checkpoints/last.partial",
)
"""Of a run: each is on a full device once."""
LIMITS = (0, 1, 100, 1_000, 3_000, 10_000, 30_000, 100_000)
"""Bytes that one file may take; the largest that a tiny run writes has about 200,000."""


def small_files(size: int, marks: int) -> None:
    """As on a disk that fills up."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def full_output(marks: int) -> None:
    """What is printed goes to a device that is always full."""
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def gone_reader(marks: int) -> None:
    """What is printed goes to a program that has ended."""
    read, write = os.pipe()
    os.close(read)
    os.dup2(write, 1)


def without_rights(marks: int) -> None:
    """Root may write everywhere: go on as somebody else."""
    if os.getuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def writers(bench: Bench) -> dict[str, Callable[[Path], list[str]]]:
    """The commands that write to a place, by their names."""
    run, (state, actions) = str(bench.run), rollout_files(bench)
    return {
        "fit": bench.fit,
        "label": lambda place: ["label", run, str(bench.log), f"--out={place / 'labelled.jsonl'}"],
        "label parquet": lambda place: ["label", run, str(bench.log), f"--out={place / 'labelled.parquet'}"],
        "export": lambda place: ["export", run, f"--out={place / 'models'}"],
        "rollout": lambda place: [
            "rollout", run, f"--state={state}", f"--actions={actions}", f"--out={place / 'steps.jsonl'}",
        ],
        "predict": lambda place: ["predict", *bench.fit(place, f"--ckpt_path={bench.checkpoint}")[1:]],
        "collect": lambda place: [
            "collect", "textworld", f"--out={place / 'games'}", "--games=8", "--steps=4",
        ],
    }  # fmt: skip


def rollout_files(bench: Bench) -> tuple[Path, Path]:
    """A state and actions for ``swirl rollout``."""
    state, actions = bench.folder / "state.txt", bench.folder / "actions.txt"
    state.write_text("door open\nlamp on\nsafe free\n", encoding="utf-8")
    actions.write_text("make door shut\nmake lamp off\n", encoding="utf-8")
    return state, actions


def refused(
    args: list[str], *names: str, prepare: tuple[Prepare, ...] = (), codes: tuple[int, ...] = (2,)
) -> str | None:
    """What is wrong with a command that must end with one of these codes."""
    outcome = Started(args, *prepare).end()
    if fault := outcome.fault(*names):
        return fault
    return None if outcome.code in codes else f"exit code {outcome.code}, expected {codes}: {outcome.last}"


def places(bench: Bench) -> Iterator[Case]:
    """All of them."""
    commands = writers(bench)
    if bench.quick:
        commands = {name: commands[name] for name in ("fit", "label", "rollout")}
    for name, command in commands.items():
        for size in LIMITS[1::4] if bench.quick else LIMITS:
            yield Case(f"{name}, files of {size} bytes", partial(limited, bench, command, size))
        for what in ("a file for a folder", "under /proc", *([] if bench.quick else ["no rights"])):
            yield Case(f"{name}, {what}", partial(unwritable, bench, command, what))
    for file in FILES[:2] if bench.quick else FILES:
        yield Case(f"fit, {file} on a full device", partial(full_device, bench, file))
    yield from output(bench)
    for what in () if bench.quick else ("a folder", "no rights"):
        yield Case(f"report, {what}", partial(report, bench, what))


def limited(bench: Bench, command: Callable[[Path], list[str]], size: int) -> str | None:
    """Small enough files are written whole; else it is told and nothing half is left."""
    place = bench.new()
    place.mkdir(parents=True)
    fault = refused(command(place), prepare=(partial(small_files, size),), codes=(0, 1, 2))
    left = [path.name for path in place.glob(".*.part")]
    return fault or (f"left behind: {left}" if left else None)


def unwritable(bench: Bench, command: Callable[[Path], list[str]], what: str) -> str | None:
    place, prepare = bench.new(), ()
    place.parent.mkdir(parents=True, exist_ok=True)
    if what == "a file for a folder":
        place.touch()
    elif what == "under /proc":
        place = Path("/proc/nowhere")
    else:
        place.mkdir()
        place.chmod(0o555)
        prepare = (without_rights,)
    return refused(command(place), str(place), prepare=prepare)


def full_device(bench: Bench, file: str) -> str | None:
    root = bench.new()
    path = root / "version_0" / file
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/full")
    outcome = Started(bench.fit(root, "--trainer.run_version=0")).end()
    if outcome.code == 0:  # a file that is moved to its place never goes through the link
        return bench.differs(root)
    return outcome.fault() or (None if outcome.code == 2 else f"exit code {outcome.code}: {outcome.last}")


def output(bench: Bench) -> Iterator[Case]:
    """Commands whose output cannot be printed."""
    state, actions = rollout_files(bench)
    commands = {
        "plan": ["plan", f"--config={bench.config}"],
        "fit": bench.fit(bench.new()),
        "rollout": ["rollout", str(bench.run), f"--state={state}", f"--actions={actions}"],
        "report": ["report", str(bench.run)],
        "help": ["--help"],
        "fit --help": ["fit", "--help"],
        "version": ["--version"],
    }
    for name, args in list(commands.items())[: 1 if bench.quick else None]:
        yield Case(f"{name}, output on a full device", partial(refused, args, prepare=(full_output,)))
        gone = partial(refused, args, prepare=(gone_reader,), codes=(141,))
        yield Case(f"{name}, output that nobody reads", gone)


def report(bench: Bench, what: str) -> str | None:
    run, prepare = bench.new(), ()
    run.mkdir(parents=True)
    for name in ("results.json", "history.jsonl", "samples.jsonl"):
        (run / name).write_bytes((bench.run / name).read_bytes())
    page = run / "report.html"
    if what == "a folder":
        page.mkdir()
    else:
        run.chmod(0o555)
        prepare = (without_rights,)
    return refused(["report", str(run)], "report.html", prepare=prepare)
