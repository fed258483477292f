"""``--GROUP.help``: the options of one group, also where jsonargparse knows of none.

jsonargparse has a ``--KEY.help`` for each class that a key may name. It has none for the groups of the parser itself
(``--trainer.help``), nor for those within a class (``--model.fwm.grpo.help``), which it takes for a value of the class.
"""

from __future__ import annotations

import inspect
import typing
from argparse import Action
from collections.abc import Callable

from jsonargparse import ArgumentParser

from swirl_lightning.commands.spelling import did_you_mean
from swirl_lightning.types import InputError

END = ".help"
INIT = ".init_args"


def asked_group(word: str) -> str | None:
    """The group that a word of the command line asks the help of: ``model.fwm.grpo``; None where it asks for none."""
    name = word.partition("=")[0]
    return name.removeprefix("--").removesuffix(END) if name.startswith("--") and name.endswith(END) else None


def keep_group(parser: ArgumentParser, group: str, make: Callable[[], ArgumentParser]) -> ArgumentParser:
    """A parser that has the options of a group alone.

    Args:
        parser: of the command; it may be the one that is returned, and is of no other use then.
        group: its key.
        make: an empty parser, for the options of a class.

    Raises:
        InputError: there are no such options; it says what to ask for.
    """
    key, holder = group.replace(INIT, ""), "--help"
    known = {name.removeprefix("--") for name in parser._option_string_actions if name.endswith(END)}
    while not (own := _options(parser, key)):
        known |= {f"{its}{END}" for its in _groups(parser)}
        action = _longest(parser, key)
        if action is None or holder == f"--{action.dest}{END}":
            names = [f"--{name}" for name in sorted(known)]
            meant = did_you_mean(f"--{key}{END}", names)
            raise InputError(f"no such group of options: --{group}{END}{meant} ({holder} shows all options)")
        if (kind := _class(action)) is None:
            taken = f"--{action.dest} is one option"
            raise InputError(f"{taken}, found --{group}{END}; {_holder(parser, action, holder)} shows it")
        holder = f"--{action.dest}{END}"
        if inspect.isabstract(kind) or getattr(kind, "_is_protocol", False):
            raise InputError(f"--{group}{END} is of a class that is not known; ask for {holder}=CLASS")
        parser = make()
        parser.add_class_arguments(kind, action.dest)
    for titled in parser._action_groups:
        titled._group_actions = [action for action in titled._group_actions if action in own]
    parser._actions = own
    return parser


def _options(parser: ArgumentParser, key: str) -> list[Action]:
    return [action for action in parser._actions if action.dest.startswith(f"{key}.") and _is_option(action)]


def _is_option(action: Action) -> bool:
    return bool(action.option_strings) and not action.dest.endswith(END)


def _groups(parser: ArgumentParser) -> set[str]:
    names = {action.dest for action in parser._actions if _is_option(action)}
    return {name.rpartition(".")[0] for name in names} - {""}


def _longest(parser: ArgumentParser, key: str) -> Action | None:
    """The option that a key is, or is within."""
    found = [action for action in parser._actions if f"{key}.".startswith(f"{action.dest}.") and _is_option(action)]
    return max(found, key=lambda action: len(action.dest), default=None)


def _holder(parser: ArgumentParser, action: Action, before: str) -> str:
    group = action.dest.rpartition(".")[0]
    return f"--{group}{END}" if group and before == "--help" else before


def _class(action: Action) -> type | None:
    """The class that an option, or each entry of one, holds; None of one that holds plain values."""
    waiting, found = [getattr(action, "_typehint", None)], list[type]()
    while waiting:
        hint = waiting.pop(0)
        waiting += typing.get_args(hint)
        if inspect.isclass(hint) and hint.__module__.partition(".")[0] in ("swirl_lightning", "lightning"):
            found.append(hint)
    return found[0] if found else None
