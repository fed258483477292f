"""``swirl label`` without a run: which steps a person should label, and the answers on their way into the log."""

from __future__ import annotations

import shlex
from pathlib import Path

from jsonargparse import Namespace

from swirl_lightning.commands.parser import Parser
from swirl_lightning.types import InputError, check_number, say

ASK, ANSWERS = "--ask", "--answers"
USAGE = {
    ASK: f"swirl label LOG {ASK} N --out FORM [--seed SEED]",
    ANSWERS: f"swirl label LOG {ANSWERS} FORM --out NEW_LOG",
}


def ask(args: list[str]) -> int:
    """Write a form that asks what was done in some steps of a log."""
    parser = _parser(ASK, "Choose steps of a log for a person to label, spread over the kinds of change in it.")
    parser.add_argument(ASK, type=int, required=True, metavar="N", help="how many steps")
    parser.add_argument("--out", type=Path, required=True, help="the form to write, a text file")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice among steps of one kind")
    options = _read(parser, args)
    check_number(ASK, options.ask, least=1)

    from swirl_lightning.environments.asking import FEWEST_LABELS, check_episodes, choose_steps
    from swirl_lightning.environments.form import form
    from swirl_lightning.environments.rows import read_rows
    from swirl_lightning.environments.table import values
    from swirl_lightning.trained.files import whole

    transitions = read_rows(options.log, actions=None)
    check_episodes(options.log, transitions)
    steps = choose_steps(transitions, options.ask, options.seed)
    if not steps:
        raise InputError(f"{options.log}: found no step without an action in which something changes; nothing to ask")
    new = options.log.with_name(f"labelled_{options.log.name}")
    command = shlex.join(["swirl", "label", str(options.log), ANSWERS, str(options.out), "--out", str(new)])
    with whole(options.out) as part:
        part.write_text(form(steps, options.log.name, command), encoding="utf-8")
    labels = sum(action is not None for action in values(transitions, "action"))
    say(f"form:   {options.out} ({len(steps)} steps; {labels} of {len(transitions)} rows of the log have an action)")
    if labels + len(steps) < FEWEST_LABELS:
        say(f"A run needs at least {FEWEST_LABELS} rows with an action: ask for more.")
    say(f"When it is filled in:\n  {command}")
    return 0


def fill(args: list[str]) -> int:
    """Write the log with the answers of a form."""
    parser = _parser(ANSWERS, "Write a log again with the actions that a person has written into a form.")
    parser.add_argument(ANSWERS, type=Path, required=True, metavar="FORM", help=f"what {ASK} wrote, filled in")
    parser.add_argument("--out", type=Path, required=True, help="the log to write")
    options = _read(parser, args)

    from swirl_lightning.environments.form import answered_rows, read_form
    from swirl_lightning.trained.files import rows_files

    answers = read_form(options.answers)
    if not (given := sum(action is not None for action in answers.values())):
        raise InputError(f'{ANSWERS}: {options.answers}: found no answer behind any "action:"; fill in the form')
    rows = labels = 0
    with rows_files(options.out) as (write,):
        for row in answered_rows(options.log, answers, options.out.parent):
            rows, labels = rows + 1, labels + ("action" in row)
            write([row])
    say(f"log:    {options.out} ({given} of {len(answers)} steps are answered; {labels} of {rows} rows have an action)")
    return 0


def _parser(mode: str, description: str) -> Parser:
    parser = Parser(prog="swirl label", usage=USAGE[mode], description=description)
    parser.add_argument(
        "log", type=Path, metavar="LOG", help="rows episode, step, state, next_state in .jsonl, .jsonl.gz or .parquet"
    )
    return parser


def _read(parser: Parser, args: list[str]) -> Namespace:
    options = parser.parse_args(args)

    from swirl_lightning.trained.files import check_new

    check_new(options.out)
    return options
