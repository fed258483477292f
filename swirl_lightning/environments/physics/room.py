"""The grammar of ScienceWorld's states: what the agent sees, one fact a line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

_ROOM = re.compile(r"This .*?is called the ([^.]+)\.")


def describe(observation: str, look: str, inventory: str) -> str:
    """What the agent sees, as sorted distinct lines, so that the delta form edits it by facts.

    ``room: kitchen``, ``here: a stove, which is turned off. On the stove is: nothing.``, ``door: A door to the outside
    (that is open)``, ``carried: an orange``, and the answer to the last action in one line, ``said: The cupboard is now
    open.``. Of two equal lines the second ends in `` (2)``.

    Args:
        observation: the engine's answer to the last action; one that only repeats the room or the inventory becomes
            ``said: the room`` or ``said: the inventory``.
        look: its description of the room.
        inventory: its list of what is carried.
    """
    said = {_one_line(look): "the room", _one_line(inventory): "the inventory"}
    lines = [f"said: {said.get(_one_line(observation), _one_line(observation))}", *_room(look)]
    lines += [f"carried: {_one_line(line)}" for line in inventory.splitlines() if line.startswith("\t")]
    seen = Counter[str]()
    for n, line in enumerate(lines):
        seen[line] += 1
        if seen[line] > 1:
            lines[n] = f"{line} ({seen[line]})"
    return "\n".join(sorted(lines))


def _room(look: str) -> Iterator[str]:
    section = "here"
    for line in look.splitlines():
        if name := _ROOM.match(line):
            yield f"room: {name[1]}"
        elif line.startswith("\t"):
            yield f"{section}: {_one_line(line)}"
        elif line.startswith("You also see"):
            section = "door"


def _one_line(text: str) -> str:
    return " ".join(text.split())
