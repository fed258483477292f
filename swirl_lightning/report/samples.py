"""Real samples side by side: what the models answered at the first and at the last stage, differences marked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

from swirl_lightning.report.escape import escape
from swirl_lightning.report.gains import Comparison
from swirl_lightning.report.run import Row

SHOWN, OPEN = 12, 3  # transitions on the page, and how many of these are unfolded
CONTEXT = 2  # equal lines kept on each side of a difference
DATA = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+=*")
MALFORMED = '<p class="malformed">no valid answer: malformed or not finished</p>'


def sample_cards(samples: list[Row], comparison: Comparison) -> str:
    """A card a transition, in the order of the file, so that nothing is picked by its outcome."""
    groups: dict[tuple[str, str], dict[str, Row]] = {}
    for row in samples:
        groups.setdefault((str(row.get("episode", "-")), str(row.get("step", "-"))), {})[row["stage"]] = row
    stages = _stages(samples, comparison)
    cards: list[str] = []
    for (episode, step), rows in groups.items():
        answers = [rows[stage] for stage in stages if stage in rows]
        if answers:
            cards.append(_card(f"episode {episode}, step {step}", answers, unfold=len(cards) < OPEN))
    left = len(cards) - SHOWN
    more = f'<p class="note">{left} more in samples.jsonl.</p>' if left > 0 else ""
    return "".join(cards[:SHOWN]) + more


def line_diff(truth: str, answer: str) -> str:
    """The lines of an answer as HTML: extra ones are marked +, missing ones are put in and marked -.

    Runs of equal lines are folded, but for those next to a difference.
    """
    old, new = truth.splitlines(), answer.splitlines()
    blocks = SequenceMatcher(None, old, new).get_opcodes()
    parts = []
    for index, (kind, i1, i2, j1, j2) in enumerate(blocks):
        if kind != "equal":
            parts += [_line("missing", line) for line in old[i1:i2]] + [_line("extra", line) for line in new[j1:j2]]
            continue
        head = CONTEXT if index > 0 else 0
        tail = CONTEXT if index < len(blocks) - 1 else 0
        hidden = i2 - i1 - head - tail
        if hidden > 1 and len(blocks) > 1:
            parts += [_line("", line) for line in old[i1 : i1 + head]]
            parts.append(f'<span class="row fold">{hidden} equal lines</span>')
            parts += [_line("", line) for line in old[i2 - tail : i2]]
        else:
            parts += [_line("", line) for line in old[i1:i2]]
    return _box(parts)


def _stages(samples: list[Row], comparison: Comparison) -> list[str]:
    """The two stages that the table compares; the first or the last sampled one stands in for one not sampled."""
    sampled: list[str] = list(dict.fromkeys(row["stage"] for row in samples))
    if not sampled:
        return []
    first = comparison.before if comparison.before in sampled else sampled[0]
    last = comparison.after if comparison.after in sampled else sampled[-1]
    return [name for name in dict.fromkeys((first, last)) if name is not None]


def _card(title: str, answers: list[Row], *, unfold: bool) -> str:
    state, action, following = (_text(answers[0], key) for key in ("state", "action", "next_state"))
    columns = [
        f"<section><h4>State</h4>{_picture(answers[0], 'state') or _whole(state or '')}</section>",
        f"<section><h4>True action</h4>{_action(action, None)}"
        f"<h4>True next state</h4>{_picture(answers[0], 'next_state') or _changes(state or '', following or '')}"
        "</section>",
    ]
    marks = []
    for answer in answers:
        stage, z, y = escape(answer["stage"]), _text(answer, "predicted_action"), _text(answer, "predicted_next_state")
        marks.append(f'<span class="marks">{stage}: action {_mark(z == action)} state {_mark(y == following)}</span>')
        shown = MALFORMED
        if y is not None:
            shown = _picture(answer, "predicted_next_state") or line_diff(following or "", y)
        columns.append(
            f"<section><h4>Action after {stage} {_mark(z == action)}</h4>{_action(z, action)}"
            f"<h4>Next state after {stage} {_mark(y == following)}</h4>{shown}</section>"
        )
    opened = ' open="open"' if unfold else ""
    return (
        f'<details class="card"{opened}><summary><b>{escape(title)}</b> {" ".join(marks)}</summary>'
        f'<div class="columns">{"".join(columns)}</div></details>'
    )


def _whole(state: str) -> str:
    return _box(_line("", line) for line in state.splitlines())


def _picture(row: Row, key: str) -> str:
    """The picture of a state, where the row has one; it is a data URI and nothing else."""
    pictures = row.get("pictures")
    uri = pictures.get(key) if isinstance(pictures, dict) else None
    if not (isinstance(uri, str) and DATA.fullmatch(uri)):
        return ""
    return f'<img class="picture" alt="{escape(key.replace("_", " "))}" src="{uri}"/>'


def _changes(state: str, following: str) -> str:
    """The true next state; lines that the state does not have are marked."""
    old, new = state.splitlines(), following.splitlines()
    blocks = SequenceMatcher(None, old, new).get_opcodes()
    return _box(_line("" if kind == "equal" else "new", line) for kind, _, _, j1, j2 in blocks for line in new[j1:j2])


def _action(action: str | None, truth: str | None) -> str:
    if action is None:
        return MALFORMED if truth is not None else '<p class="action">-</p>'
    style = "" if truth is None else " right" if action == truth else " wrong"
    return f'<p class="action{style}">{escape(action) or "(empty)"}</p>'


def _mark(right: bool) -> str:
    return '<span class="right">✓</span>' if right else '<span class="wrong">✗</span>'


def _box(rows: Iterable[str]) -> str:
    return f'<div class="text" tabindex="0">{"".join(rows)}</div>'


def _line(style: str, line: str) -> str:
    sign = {"missing": "-", "extra": "+"}.get(style, " ")
    return f'<span class="row {style}"><i>{sign}</i>{escape(line)}</span>'


def _text(row: Row, key: str) -> str | None:
    value = row.get(key)
    return None if value is None else str(value)
