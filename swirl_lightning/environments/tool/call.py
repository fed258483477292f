"""The grammar of actions: a call of a tool, as text and back; and files of calls."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swirl_lightning.environments.rows import json_lines
from swirl_lightning.types import InputError


@dataclass(frozen=True)
class Call:
    """A call that is made: the tool and its arguments."""

    tool: str
    arguments: dict[str, Any]


def write_call(tool: str, arguments: Any) -> str:
    """A call as text: the tool as one word, then its arguments as JSON, ``move_file {"source": "a", "to": "b"}``.

    The tool comes first and has no spaces, so that the kind of an action, its first word, is the tool.

    Args:
        tool: the name; runs of spaces in it become ``_``.
        arguments: what JSON can write; a string is taken as it stands, for calls that are no JSON.
    """
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return f"{'_'.join(tool.split())} {arguments}"


def read_call(action: str) -> tuple[str, Any]:
    """The tool and its arguments. Arguments that are no JSON are given back as text; never raises."""
    tool, _, arguments = action.strip().partition(" ")
    try:
        return tool, json.loads(arguments)
    except (ValueError, RecursionError):
        return tool, arguments


def read_calls(path: Path) -> list[Call]:
    """Calls from JSONL, ``{"tool": "open_nodes", "arguments": {"names": ["Ada"]}}`` a line.

    Raises:
        InputError: the file is missing, empty, or a line is no call.
    """
    if not path.is_file():
        raise InputError(f"--calls: {path}: no such file; check the path")
    calls = []
    for number, row in json_lines(path):
        if not isinstance(row, dict) or set(row) - {"tool", "arguments"} or not isinstance(row.get("tool"), str):
            raise InputError(f"{path}:{number}: found {row!r:.60}, expected an object with tool and arguments alone")
        if not isinstance(row.get("arguments", {}), dict):
            raise InputError(f"{path}:{number}: arguments: found {type(row['arguments']).__name__}, expected an object")
        calls.append(Call(row["tool"], row.get("arguments", {})))
    if not calls:
        raise InputError(f"--calls: {path}: found no calls, expected one a line")
    return calls
