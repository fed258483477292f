"""Which tools of a server may be called."""

from __future__ import annotations

import json
from collections.abc import Sequence

from swirl_lightning.environments.tool.call import Call
from swirl_lightning.environments.tool.documentation import Tool
from swirl_lightning.types import InputError


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
