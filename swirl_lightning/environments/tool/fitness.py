"""Which tools can be worked with: a schema is a stranger's, and can be wrong in any way."""

from __future__ import annotations

from collections.abc import Sequence

from swirl_lightning.environments.tool.call import Call
from swirl_lightning.environments.tool.call_drawer import CallDrawer, Unfit
from swirl_lightning.environments.tool.documentation import Tool, document
from swirl_lightning.environments.tool.schema import size
from swirl_lightning.types import InputError

MOST_PARTS = 10_000  # of a schema with its references written out; a state could not hold more


def choose_fit(
    tools: Sequence[Tool], drawer: CallDrawer | None, script: Sequence[Call] | None
) -> tuple[list[Tool], str]:
    """The tools that can be documented and called, and a message on those that cannot; it is empty where all can.

    Args:
        tools: those that may be called.
        drawer: what draws the calls; null where they come from a script.
        script: calls that must all be possible.

    Raises:
        InputError: no tool is left, or the script calls one that is left out.
    """
    unfit = {tool.name: said for tool in tools if (said := _why_unfit(tool, drawer))}
    message = "; ".join(unfit.values())
    message = message and f"tools left out: {message}; where only a value is missing, give it with --values"
    if called := [call.tool for call in script or () if call.tool in unfit]:
        raise InputError(f"--calls: found calls of {called[0]!r}, which cannot be documented; {message}")
    if len(unfit) == len(tools):
        raise InputError(f"--server: found no tool whose schema can be worked with among {len(tools)}; {message}")
    return [tool for tool in tools if tool.name not in unfit], message


def _why_unfit(tool: Tool, drawer: CallDrawer | None) -> str:
    try:
        if (parts := size(tool.schema, tool.schema)) > MOST_PARTS:
            return f"{tool.name}: its schema with references written out has {parts} parts, at most {MOST_PARTS} fit"
        document(tool, "full")
        if drawer:
            drawer.arguments(tool)
    except Unfit as error:
        return str(error)
    except Exception as error:
        return f"{tool.name}: its schema cannot be read ({type(error).__name__}: {error!s:.200})"
    return ""
