"""``swirl plan``: the memory that a run needs, before it begins."""

from __future__ import annotations

from jsonargparse import ActionConfigFile, ArgumentParser

from swirl_lightning.commands.parser import Parser
from swirl_lightning.types import say

HELP = {"-h", "--help"}


def plan(args: list[str]) -> int:
    """Print the plan. Returns 0 where the run fits, 1 where it does not."""
    if HELP & set(args):
        _own_help().parse_args(["--help"])

    from swirl_lightning.commands.planned_run import PlannedRun
    from swirl_lightning.plan.sizes import device_and_room

    run = PlannedRun(args, add_options)
    trainer, data = run.config.trainer, run.config.data.init_args
    device, room = device_and_room(trainer.accelerator, run.config.gpu_memory)
    stages = [*trainer.warmup, *trainer.iteration]
    made = run.model.plan(stages, data.batch_size, data.eval_batch_size, device, room)
    say(made.page())
    return 0 if made.fits else 1


def add_options(parser: ArgumentParser) -> None:
    """Add what ``swirl plan`` takes beside the options of ``swirl fit``."""
    parser.add_argument(
        "--gpu_memory",
        type=str | None,
        help="memory of a GPU that need not be there, for example 24GiB; without it, that of this machine",
    )


def _own_help() -> Parser:
    """A parser with the command's own options: those of ``swirl fit`` take seconds to be gathered."""
    parser = Parser(
        prog="swirl plan",
        usage="swirl plan --config FILE [--gpu_memory SIZE] [options of swirl fit]",
        description="Print the peak of memory by part, pass by pass, before anything is downloaded or allocated. Exit "
        "code 0 where the run fits, 1 where it does not.",
        epilog="All options of swirl fit are taken, as swirl fit --help shows them.",
        print_config=None,
    )
    parser.add_argument("-c", "--config", action=ActionConfigFile, help="the configuration of the run, a YAML file")
    add_options(parser)
    return parser
