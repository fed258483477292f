"""``swirl collect``: transitions from an environment's engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path

from swirl_lightning.commands.menu import Menu
from swirl_lightning.commands.parser import Parser
from swirl_lightning.types import InputError, say

WORLDS = {
    "crafter": "Crafter's woods, water and stones as pictures; needs the extra 'vision'",
    "minigrid": "MiniGrid's rooms as pictures; needs the extra 'vision'",
    "physics": "ScienceWorld's rooms, in its official variations; needs the extra 'physics' and Java",
    "textworld": "generated text adventures; needs the extra 'textworld'",
    "tool": "calls to a Model Context Protocol server of your choice; needs the extra 'tool'",
    "video": "a folder of videos, as pictures some time apart; needs the extra 'video'",
    "web": "MiniWoB++ pages in a browser; needs the extra 'web', Chromium and its driver",
}
"""The collector of a world is ``collect_<world>`` in ``environments/<world>/collect.py``, imported when it is asked."""
MENU = Menu(
    prog="swirl collect",
    noun="world",
    about="Play an engine, or watch videos, and write each change of a state as a transition.",
    entries=WORLDS,
)

OVERWRITE = "overwrite"
OF_NO_CONSEQUENCE = ("dry_run", "headers", "processes", OVERWRITE, "out")
"""Arguments that change nothing in what is written; no record has them."""


def _check_place(out: Path) -> None:
    """Refuse, before anything is played, a folder that could not be written."""
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise InputError(f"--out: cannot write to {there}, expected a folder that can be written to, or made")


def collect(args: list[str]) -> int:
    """Run a world's collector with its own arguments as options."""
    world = MENU.choose(args)

    from swirl_lightning.environments.collected import is_collected

    collector = getattr(import_module(f"swirl_lightning.environments.{world}.collect"), f"collect_{world}")
    description, _, _ = collector.__doc__.partition("\n\n")
    parser = Parser(prog=f"swirl collect {world}", description=description)
    parser.add_argument("--config", action="config", help="a YAML file with any of these options")
    places = _add_places(parser, collector)
    names = parser.add_function_arguments(collector, as_group=False, skip=set(places))
    if OVERWRITE not in names:
        parser.add_argument(
            f"--{OVERWRITE}", type=bool, default=False, help="replace a collection in --out once the new one is whole"
        )
    options = parser.instantiate(parser.parse_args(args[1:]))
    _check_place(options.out)
    given = {name: options[name] for name in (*places, *names) if name not in OF_NO_CONSEQUENCE}
    if given.get("calls"):
        del given["episodes"]  # as many as the calls fill
    if not (options[OVERWRITE] or options.get("dry_run")) and is_collected(options.out, world, given):
        read = [name for name, value in given.items() if isinstance(value, Path)]
        beside = f" (what is in {', '.join(read)} is not compared)" if read else ""
        say(
            f"{options.out}: was collected before, with the same arguments{beside}, and is kept; --{OVERWRITE} true "
            "replaces it"
        )
        return 0
    collector(*(options[name] for name in places), **{name: options[name] for name in names})
    return 0


def _add_places(parser: Parser, collector: Callable[..., None]) -> list[str]:
    """Give the arguments of a collector that cannot be named a place on the command line; all of them are paths."""
    described = Parser()
    described.add_function_arguments(collector, as_group=False)
    explained = {action.dest: action.help for action in described._actions}
    known = signature(collector).parameters.values()
    places = [parameter.name for parameter in known if parameter.kind is Parameter.POSITIONAL_ONLY]
    for name in places:
        parser.add_argument(name, type=Path, metavar=name.upper(), help=explained[name])
    return places
