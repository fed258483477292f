"""``swirl collect``: transitions from an environment's engine."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from swirl_lightning.commands.menu import Menu
from swirl_lightning.commands.parser import Parser
from swirl_lightning.types import InputError

WORLDS = {
    "minigrid": "MiniGrid's rooms as pictures; needs the extra 'vision'",
    "physics": "ScienceWorld's rooms, in its official variations; needs the extra 'physics' and Java",
    "textworld": "generated text adventures; needs the extra 'textworld'",
    "tool": "calls to a Model Context Protocol server of your choice; needs the extra 'tool'",
    "web": "MiniWoB++ pages in a browser; needs the extra 'web', Chromium and its driver",
}
"""The collector of a world is ``collect_<world>`` in ``environments/<world>/collect.py``, imported when it is asked."""
MENU = Menu(
    prog="swirl collect",
    noun="world",
    about="Play an engine and write each change of its state as a transition, in four splits.",
    entries=WORLDS,
)


def _check_place(out: Path) -> None:
    """Refuse, before anything is played, a folder that could not be written."""
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise InputError(f"--out: cannot write to {there}, expected a folder that can be written to, or made")


def collect(args: list[str]) -> int:
    """Run a world's collector with its own arguments as options."""
    world = MENU.choose(args)
    collector = getattr(import_module(f"swirl_lightning.environments.{world}.collect"), f"collect_{world}")
    description, _, _ = collector.__doc__.partition("\n\n")
    parser = Parser(prog=f"swirl collect {world}", description=description)
    parser.add_argument("--config", action="config", help="a YAML file with any of these options")
    names = parser.add_function_arguments(collector, as_group=False)
    options = parser.instantiate(parser.parse_args(args[1:]))
    _check_place(options.out)
    collector(**{name: options[name] for name in names})
    return 0
