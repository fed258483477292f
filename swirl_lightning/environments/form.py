"""A form in which a person says what was done in some steps of a log, and the way of the answers into the log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill

from swirl_lightning.codecs.delta_diff import changed_ranges
from swirl_lightning.environments.rows import fields_of, scan_rows
from swirl_lightning.pictures import file_of, is_known
from swirl_lightning.types import InputError, Transition

LONGEST = 60
"""Lines of a state in the form; of longer ones it has those near a change."""
NEAR = 5

Step = tuple[str, int]
"""An episode and the number of a step in it."""
_HEAD = re.compile(r'step (\d+) of episode (".*")')
_SHOWN = re.compile(r"  |[-+#]( |$)")
_ACTION = "action:"
_GUIDE = (
    'What was done in each of them? Write it in one line behind "action:", as an agent would be told to do it, and the '
    "same deed always in the same words. Leave it open where nobody can tell. Lines that begin with "
    '"- " went, those with "+ " came. Then put the answers into the log:'
)


def form(steps: Sequence[Transition], log_name: str, command: str) -> str:
    """The text of a form that asks what was done in each step."""
    head = [*fill(f"{len(steps)} steps of {log_name}. {_GUIDE}", 98).split("\n"), f"  {command}"]
    return "\n".join([*(f"# {line}" for line in head), "", *(_question(t) for t in steps)])


def read_form(path: Path) -> dict[Step, str | None]:
    """The steps of a form and what was written behind ``action:``; None where nothing was.

    Raises:
        InputError: it is no form, or has a line that stands in none.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--answers: {path}: {error}; expected a form of swirl label --ask, in UTF-8") from error
    answers: dict[Step, str | None] = {}
    step: Step | None = None
    for number, line in enumerate(lines, start=1):
        if head := _HEAD.fullmatch(line.strip()):
            step = _step(head, f"{path}:{number}")
            answers[step] = None
        elif line.startswith(_ACTION) and step:
            answers[step] = line.removeprefix(_ACTION).strip() or None
        elif line.strip() and not _SHOWN.match(line):
            raise InputError(
                f"--answers: {path}:{number}: found {line[:60]!r}, expected a line of the form that swirl label --ask "
                f'wrote: write each action in one line, behind "{_ACTION}"'
            )
    if not answers:
        raise InputError(f"--answers: {path}: found no step, expected a form that swirl label --ask wrote")
    return answers


def answered_rows(log_file: Path, answers: Mapping[Step, str | None], folder: Path) -> Iterator[dict[str, object]]:
    """The rows of a log, in which steps that were answered have their action.

    Args:
        log_file: the log that the form is of.
        answers: of ``read_form``.
        folder: where they will be written; paths of pictures go from there.

    Raises:
        InputError: an answered step has another action in the log already, or is not there.
    """
    missing = {step for step, action in answers.items() if action}
    for line, t in scan_rows(log_file):
        step = (t.episode, t.step)
        missing.discard(step)
        given = answers.get(step)
        if given and t.action not in (None, given):
            raise InputError(
                f"{log_file}:{line}: step {t.step} of episode {t.episode!r} has the action {t.action!r}, and the form "
                f"says {given!r}; expected one of them: leave it open in the form, or mend the log"
            )
        action = given or t.action
        yield fields_of(t, folder) | ({} if action is None else {"action": action})
    if missing:
        episode, number = min(missing)
        raise InputError(
            f"--answers: step {number} of episode {episode!r} is not in {log_file}; expected the form of this log"
        )


def _step(head: re.Match[str], where: str) -> Step:
    try:
        return json.loads(head[2]), int(head[1])
    except ValueError as error:
        raise InputError(
            f"--answers: {where}: found {head[0][:60]!r}, expected a step and its episode as they were written"
        ) from error


def _question(t: Transition) -> str:
    head = f"step {t.step} of episode {json.dumps(t.episode, ensure_ascii=False)}"
    if is_known(t.state) and is_known(t.next_state):
        return "\n".join([head, f"- {file_of(t.state)}", f"+ {file_of(t.next_state)}", f"{_ACTION} ", ""])
    return "\n".join([head, *_difference(t.state.split("\n"), t.next_state.split("\n")), f"{_ACTION} ", ""])


def _difference(before: list[str], after: list[str]) -> Iterator[str]:
    """The lines of both states, each with its sign; what a terminal or an editor would not show is escaped."""
    near = NEAR if len(before) > LONGEST else LONGEST
    here = 0
    for i, j, k, m in [*changed_ranges(before, after), (len(before), len(before), 0, 0)]:
        kept = before[here:i]
        shown = kept if len(kept) <= 2 * near else [*kept[:near], f"({len(kept) - 2 * near} lines)", *kept[-near:]]
        for sign, lines in (("  ", shown), ("- ", before[i:j]), ("+ ", after[k:m])):
            yield from (sign + (line if line.isprintable() else repr(line)[1:-1]) for line in lines)
        here = j
