"""``swirl report``: the page of a run, made again."""

from __future__ import annotations

from pathlib import Path

from swirl_lightning.commands.parser import Parser
from swirl_lightning.types import say


def report(args: list[str]) -> int:
    """Write ``report.html`` from the files of a run's folder and print where it is."""
    parser = Parser(prog="swirl report", description="Make report.html again from the files of a run's folder.")
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder, which holds results.json")
    options = parser.parse_args(args)

    from swirl_lightning.report import write_report

    say(write_report(options.run))
    return 0
