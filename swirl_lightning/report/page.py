"""report.html: one file that opens offline, without scripts, and is well-formed XML."""

from __future__ import annotations

import json
from pathlib import Path

from swirl_lightning.report.curves import metric_charts, open_loop_charts, time_table, training_charts
from swirl_lightning.report.escape import escape
from swirl_lightning.report.gains import Comparison, compare, fixed
from swirl_lightning.report.run import Run, read_run, write_whole
from swirl_lightning.report.samples import sample_cards
from swirl_lightning.report.style import CSS
from swirl_lightning.report.summary import ROLES, summary

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # the browser refuses anything from outside


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a run's folder; the same files give the same bytes.

    Returns:
        The path of the report.

    Raises:
        InputError: as ``read_run``.
    """
    path = folder / "report.html"
    write_whole(path, render(read_run(folder)))
    return path


def render(run: Run) -> str:
    """The whole page."""
    comparison = compare(run.results)
    name = escape(run.folder.resolve().name)
    sections = [
        _section("Before and after", "Measured on held-out test episodes. Higher is better, but for the share "
                 "of unique actions, which only tells whether answers collapse.", _gain_table(comparison)),
        _section("Held-out metrics by stage", "Solid: test episodes. Dashed: validation episodes. Blue stages teach "
                 "the FWM, amber ones the IDM.", _grid(metric_charts(run.results))),
        _section("Open-loop rollouts", "The FWM goes on from its own predicted states; true actions. Solid: the last "
                 "stage. Dashed: the first.", _grid(open_loop_charts(run.results))),
        _section("Training", "By update. A line is the role that learns; the other one scores it.",
                 _grid(training_charts(run))),
        _section("Time and tokens", "", time_table(run) if run.results["stages"] else ""),
        _section("Samples", "The same held-out transitions, the first of samples.jsonl in its order. "
                 "In the true next state, lines that changed are shaded. In an answer, + is a line too many and - "
                 "a line that is missing. Of pictures, cells that are wrong are framed.",
                 sample_cards(run.samples, comparison)),
        _section("Configuration", "", _configuration(run)),
    ]  # fmt: skip
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>SWIRL run {name}</title><style>{CSS}</style></head>\n<body><main>"
        f'<h1>SWIRL run {name}</h1><p class="sub">{_facts(run)}</p>'
        f'<p class="lead">{escape(summary(comparison))}</p>\n' + "\n".join(sections) + "\n</main></body></html>\n"
    )


def _facts(run: Run) -> str:
    stages = " → ".join(stage["stage"] for stage in run.results["stages"]) or "no stage finished"
    return escape(f"seed {run.results.get('seed', '-')} · {stages}")


def _section(title: str, note: str, body: str) -> str:
    """A section; nothing at all where there is nothing to show."""
    return f'<h2>{title}</h2><p class="note">{note}</p>{body}' if body else ""


def _grid(figures: str) -> str:
    return figures and f'<div class="grid3">{figures}</div>'


def _gain_table(comparison: Comparison) -> str:
    if comparison.before is None:
        return ""
    rows, role = [], ""
    for gain in comparison.gains:
        if gain.role != role:
            role = gain.role
            title = escape(ROLES.get(role, role))
            rows.append(f'<tr class="role"><th scope="rowgroup" colspan="4">{title[:1].upper()}{title[1:]}</th></tr>')
        move = f'<span class="move {gain.verdict}">{fixed(gain.difference, sign=True)}</span>'
        values = (fixed(gain.before), fixed(gain.after), move)
        cells = "".join(f"<td>{value}</td>" for value in values)
        rows.append(f'<tr><th scope="row">{escape(gain.label)}</th>{cells}</tr>')
    heads = (f"before<br/>{escape(comparison.before)}", f"after<br/>{escape(comparison.after or '-')}", "difference")
    head = '<th scope="col">metric</th>' + "".join(f'<th scope="col">{text}</th>' for text in heads)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _configuration(run: Run) -> str:
    parts = []
    for key, title in (("config", "Configuration of this run"), ("versions", "Versions")):
        if content := run.results.get(key):
            text = escape(json.dumps(content, indent=2, ensure_ascii=False, sort_keys=key == "versions"))
            parts.append(f'<details class="card"><summary>{title}</summary><pre tabindex="0">{text}</pre></details>')
    return "".join(parts)
