"""What the commands that use a trained run have in common: which run, and how it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from swirl_lightning.commands.group_help import asked_group
from swirl_lightning.commands.parser import Parser
from swirl_lightning.types import InputError

if TYPE_CHECKING:
    from swirl_lightning.modules import SWIRL

SETTING = "--model."


def run_parser(command: str, description: str) -> Parser:
    """A parser with the options that say which run is used, and how.

    Args:
        command: its name.
        description: what it does.
    """
    parser = Parser(prog=f"swirl {command}", description=description)
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="the folder of the run, which holds config.yaml and checkpoints"
    )
    parser.add_argument("--checkpoint", type=Path | None, help="a checkpoint other than RUN/checkpoints/last.ckpt")
    parser.add_argument("--device", type=str, default="auto", help="auto (a GPU where there is one), cpu, cuda, cuda:1")
    parser.add_argument(
        f"{SETTING}KEY",
        metavar="VALUE",
        help="change a setting of the run's model, named as in swirl fit; for example --model.base.name=FOLDER where "
        "the base model lies elsewhere by now",
    )
    return parser


def add_environment(parser: Parser) -> None:
    """Add the option that chooses the prompts."""
    parser.add_argument("--environment", type=str | None, help="whose prompts are used, where the run had several")


def read(parser: Parser, args: list[str]) -> tuple[Namespace, Callable[[], SWIRL]]:
    """Read the command line.

    The settings of the model are checked when it is loaded, for they are those of the classes that the run names.

    Returns:
        The options, and what loads the model as they say. The command calls it after all that can be wrong.

    Raises:
        InputError: an option is wrong, or ``--out`` is there already.
    """
    settings, others = split_settings(args)
    options = parser.parse_args(others)

    from swirl_lightning.trained.files import check_new
    from swirl_lightning.trained.load import load_run

    if options.out:
        check_new(options.out)
    return options, partial(load_run, options.run, options.checkpoint, options.device, **settings)


def split_settings(args: list[str]) -> tuple[dict[str, str], list[str]]:
    """The settings of the model by key, as ``--model.KEY=VALUE`` or ``--model.KEY VALUE`` give them; all other options.

    Raises:
        InputError: a setting has no value.
    """
    settings: dict[str, str] = {}
    others: list[str] = []
    rest = iter(args)
    for given in rest:
        name, equals, value = given.partition("=")
        if not name.startswith(SETTING):
            others.append(given)
            continue
        if asked_group(given) is not None:
            raise InputError(f"{name}: the settings are those of swirl fit; ask for swirl fit {given}")
        taken = value if equals else next(rest, None)
        if taken is None:
            raise InputError(f"{name}: expected a value")
        settings[name.removeprefix(SETTING)] = taken
    return settings, others
