"""The grammar of states: what stands in the player's room, one fact a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textworld.generator.game import GameProgression

PORTABLE = ("f", "k", "o")  # TextWorld's kinds of things that can be carried: food, keys and others


def describe(progression: GameProgression, names: dict[str, str]) -> str:
    """The player's room as sorted lines, one fact a line.

    ``at attic``, ``table here``, ``safe locked``, ``coin in safe``, ``lamp on table``, ``hat on floor``,
    ``apple carried``, ``keycard fits safe``.
    """
    facts = [(fact.name, fact.arguments) for fact in progression.state.facts]
    room = next(args[1].name for name, args in facts if name == "at" and args[0].type == "P")
    fixed = {args[0].name for name, args in facts if name == "at" and args[1].name == room}
    fixed |= {args[1].name for name, args in facts if name == "link" and args[0].name == room}
    lines, visible = [f"at {names[room]}"], set[str]()
    for name, args in facts:
        first = names.get(args[0].name)
        if name == "at" and args[1].name == room and args[0].type == "s":
            lines.append(f"{first} here")
        elif name in ("open", "closed", "locked") and args[0].name in fixed:
            lines.append(f"{first} {name}")
        elif name in ("in", "on", "at") and args[0].type in PORTABLE:
            place = args[1].name
            if place == "I":
                lines.append(f"{first} carried")
            elif place == room:
                lines.append(f"{first} on floor")
            elif place in fixed:
                lines.append(f"{first} {name} {names[place]}")
            else:
                continue
            visible.add(args[0].name)
    for name, args in facts:
        if name == "match" and args[0].name in visible and args[1].name in fixed:
            lines.append(f"{names[args[0].name]} fits {names[args[1].name]}")
    return "\n".join(sorted(lines))
