"""Whether a folder holds a collection already, and whether it is the one that is asked for."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swirl_lightning.environments.collection import RECORD
from swirl_lightning.environments.splits import SPLITS
from swirl_lightning.types import InputError

HIDDEN = "..."
"""Stands in a record where a secret was."""


def is_collected(out: Path, world: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a folder has the whole collection of a world and these arguments; False: there is none.

    Args:
        out: the folder.
        world: the word after ``swirl collect``.
        arguments: those that decide what is written.

    Raises:
        InputError: there is a collection of other arguments, or one that has lost a file: it is not replaced unasked.
    """
    record = out / RECORD
    if not record.is_file():
        if there := [name for name in (f"{split}.jsonl.gz" for split in SPLITS) if (out / name).exists()]:
            raise _taken(out, f"{', '.join(there)} without a {RECORD}")
        return False
    try:
        kept = json.loads(record.read_bytes())
        command, before, files = shlex.split(kept["command"]), dict(kept["arguments"]), list(kept["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _taken(out, f"a {RECORD} that cannot be read ({type(error).__name__}: {error})") from error
    if command[2:3] != [world]:
        raise _taken(out, f"what '{shlex.join(command[:3])}' wrote")
    now = json.loads(json.dumps(dict(arguments), default=lambda value: Path(value).name))
    if differ := [name for name, value in now.items() if not _same(before.get(name), value)]:
        told = ", ".join(f"{name} {json.dumps(before.get(name))}" for name in differ)
        raise _taken(out, f"a collection with other arguments ({told})")
    if gone := [name for name in files if not any((out / its).exists() for its in (name, f"{name}.jsonl.gz"))]:
        raise _taken(out, f"a collection that has lost {', '.join(gone)}")
    return True


def _same(before: Any, now: Any) -> bool:
    if isinstance(before, str) and isinstance(now, str) and HIDDEN in before:
        return bool(re.fullmatch(".*".join(map(re.escape, before.split(HIDDEN))), now))
    return bool(before == now)


def _taken(out: Path, found: str) -> InputError:
    return InputError(
        f"--out: {out}: found {found}, expected a folder without a collection, or with the same one; choose another, "
        "or replace what is there with --overwrite true"
    )
