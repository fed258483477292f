"""A data set that a collector wrote: one file a split, and ``collection.json``, which says how it came about."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import platform
import shlex
import tempfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from swirl_lightning.environments.rows import read_rows, write_split
from swirl_lightning.environments.splits import SPLITS, Split
from swirl_lightning.types import InputError, Transition, writing

RECORD = "collection.json"


def describe_run(
    environment: str, out: Path, arguments: Mapping[str, Any], packages: Iterable[str], places: Sequence[str] = ()
) -> dict[str, Any]:
    """The begin of a record: the command that collects again, its arguments and the versions of what took part.

    Args:
        environment: the word after ``swirl collect``.
        out: the folder that is written; only its name is kept.
        arguments: of the collector, as JSON can write them.
        packages: installed packages that the data depends on.
        places: the collector's arguments that have a place and no name.
    """
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in arguments.items()}
    flags = [word for name, text in texts.items() for word in (f"--{name}", text)]
    return {
        "command": shlex.join(["swirl", "collect", environment, *places, "--out", out.name, *flags]),
        "arguments": dict(arguments),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("swirl-lightning", *packages)},
    }


def share_seen(parts: Mapping[Split, Sequence[Transition]]) -> float:
    """The share of held-out transitions that also occur in training, in another game that looks the same."""
    seen = {(t.state, t.next_state) for split in ("labelled", "state_only") for t in parts[split]}
    held_out = [(t.state, t.next_state) for split in ("validation", "test") for t in parts[split]]
    return round(sum(pair in seen for pair in held_out) / max(1, len(held_out)), 4)


def write_collection(out: Path, parts: Mapping[Split, list[Transition]], record: Mapping[str, Any]) -> None:
    """Write a file for each split, without the actions of ``state_only``, and the record with their hashes.

    A collection that is there is replaced once all of the new one is written.

    Args:
        out: the folder; it is made where it does not exist.
        parts: the transitions of each split.
        record: what else ``collection.json`` says; ``describe_run`` gives its begin.

    Raises:
        InputError: a split has no transition.
    """
    if empty := [split for split in SPLITS if not parts[split]]:
        raise InputError(f"{out}: collected no transition for {', '.join(empty)}, expected some; collect more episodes")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=out) as name:
            part = Path(name)
            files = {split: write_split(part, split, parts[split], split != "state_only", out) for split in SPLITS}
            (part / RECORD).write_text(json.dumps({**record, "files": files}, indent=2) + "\n", encoding="utf-8")
            for path in sorted(part.iterdir(), key=lambda path: path.name == RECORD):
                os.replace(path, out / path.name)


def read_collection(folder: Path) -> dict[Split, Sequence[Transition]]:
    """The transitions of each split, once every file has the hash that ``collection.json`` gives.

    Raises:
        InputError: the folder, the record or a file is missing, unreadable or not what was written.
    """
    files = _read_record(folder)
    for split in SPLITS:
        path = folder / f"{split}.jsonl.gz"
        if (found := _sha256(path)) != files[split]:
            raise InputError(
                f"{path}: found the sha256 {found[:12]}..., expected {files[split][:12]}... as in {RECORD}; "
                "trajectories are stored once; collect again or restore the file"
            )
    return {split: read_rows(folder / f"{split}.jsonl.gz", actions=split != "state_only") for split in SPLITS}


def read_episodes(folder: Path) -> dict[Split, Sequence[Transition]]:
    """``read_collection`` of a world whose episodes are whole: each is checked by ``check_episodes``."""
    parts = read_collection(folder)
    for split, transitions in parts.items():
        check_episodes(folder / f"{split}.jsonl.gz", transitions)
    return parts


def check_episodes(source: Path, transitions: Sequence[Transition]) -> None:
    """Check that each episode goes from step 0 to its end without a gap, each step from where the last one led.

    Args:
        source: the file or folder, for the message.
        transitions: whole episodes, in any order.

    Raises:
        InputError: an episode with a gap.
    """
    last: dict[str, Transition] = {}
    for t in sorted(transitions, key=lambda t: (t.episode, t.step)):
        before = last.get(t.episode)
        due = before.step + 1 if before else 0
        where = f"{source}: episode {t.episode!r}, step {t.step}"
        if t.step != due:
            raise InputError(
                f"{where}: an episode with a gap: expected step {due} here; restore the missing rows, or leave the "
                "episode out"
            )
        if before and before.next_state != t.state:
            raise InputError(
                f"{where}: an episode with a gap: its state is not the next_state of step {before.step}; restore the "
                "rows as they were collected, or leave the episode out"
            )
        last[t.episode] = t


def _read_record(folder: Path) -> dict[Split, str]:
    """The sha256 of each split's file."""
    path = folder / RECORD
    if not path.is_file():
        found = "no such folder" if not folder.is_dir() else f"found no {RECORD}"
        raise InputError(f"{folder}: {found}, expected what 'swirl collect' writes; check the path, or collect again")
    try:
        files = json.loads(path.read_bytes())["files"]
        return {split: str(files[split]["sha256"]) for split in SPLITS}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: found no readable record ({type(error).__name__}: {error}), expected files.SPLIT.sha256 for each "
            f"of {', '.join(SPLITS)}; restore the file or collect again"
        ) from error


def _sha256(path: Path) -> str:
    """Of the uncompressed bytes: they do not depend on the version of zlib."""
    if not path.is_file():
        raise InputError(f"{path}: no such file, but {RECORD} names it; restore the file or collect again")
    try:
        with gzip.open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: the gzip data is broken ({error}); restore the file or collect again") from error
