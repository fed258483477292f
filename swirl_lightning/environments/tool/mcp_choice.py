"""Which tools of a server are called, and calls from a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swirl_lightning.environments.tool.text import Tool
from swirl_lightning.types import InputError


@dataclass(frozen=True)
class Call:
    """A call that is made: the tool and its arguments."""

    tool: str
    arguments: dict[str, Any]


def choose_tools(
    listed: Sequence[Tool], only: Sequence[str] | None, allow: Sequence[str], script: Sequence[Call] | None
) -> tuple[list[Tool], str]:
    """The tools that may be called, and a message on those that may not; it is empty where there are none.

    Args:
        listed: all tools of the server.
        only: names to choose from; null means all.
        allow: names of tools that may be called whatever dangers they have.
        script: calls that must all be possible.

    Raises:
        InputError: a name is unknown, a call of the script is not allowed, or no tool is left.
    """
    there = {tool.name: tool for tool in listed}
    for option, names in (("tools", only or ()), ("allow", allow), ("calls", [call.tool for call in script or ()])):
        if unknown := [name for name in names if name not in there]:
            raise InputError(f"--{option}: found the tool {unknown[0]!r}, expected one of {', '.join(there) or 'none'}")
    wanted = [tool for tool in listed if only is None or tool.name in only]
    chosen = [tool for tool in wanted if not tool.dangers or tool.name in allow]
    left_out = [tool for tool in wanted if tool not in chosen]
    message = ""
    if left_out:
        named = ", ".join(f"{tool.name} ({' and '.join(tool.dangers)})" for tool in left_out)
        both = json.dumps([*allow, *(tool.name for tool in left_out)])
        message = (
            f"not called, as the server marks them so or says nothing of them: {named}; where the server can do no "
            f"harm here, call them too with --allow '{both}'"
        )
    callable_names = {tool.name for tool in chosen}
    if blocked := [call.tool for call in script or () if call.tool not in callable_names]:
        raise InputError(f"--calls: found calls of {blocked[0]!r}, which may not be called; {message}")
    if not chosen:
        raise InputError(f"--server: found no tool that may be called among {len(listed)}; {message}")
    return chosen, message


def read_calls(path: Path) -> list[Call]:
    """Calls from JSONL, ``{"tool": "open_nodes", "arguments": {"names": ["Ada"]}}`` a line.

    Raises:
        InputError: the file is missing, empty, or a line is no call.
    """
    if not path.is_file():
        raise InputError(f"--calls: {path}: no such file; check the path")
    calls = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            row = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}:{number}: found no valid JSON ({error}), expected one object a line") from error
        if not isinstance(row, dict) or set(row) - {"tool", "arguments"} or not isinstance(row.get("tool"), str):
            raise InputError(f"{path}:{number}: found {line[:60]!r}, expected an object with tool and arguments alone")
        if not isinstance(row.get("arguments", {}), dict):
            raise InputError(f"{path}:{number}: arguments: found {type(row['arguments']).__name__}, expected an object")
        calls.append(Call(row["tool"], row.get("arguments", {})))
    if not calls:
        raise InputError(f"--calls: {path}: found no calls, expected one a line")
    return calls
