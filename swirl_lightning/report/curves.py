"""The chart sections of the page: held-out metrics by stage, training curves by phase, time and tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

from swirl_lightning.report.escape import escape
from swirl_lightning.report.gains import duration, fixed, label_of, open_loop_step, rank, split_key
from swirl_lightning.report.run import Row, Run, number
from swirl_lightning.report.svg import Band, Line, Point, line_chart, stacked_bar

POINTS = 150  # at most this many points a stage are drawn; each is the mean of its neighbours
SHARES = ("generation", "scoring", "update")


class Panel(NamedTuple):
    """One training chart of the stages whose updates have its keys.

    ``curves`` holds (key, legend, style); no style takes the learner's colour. Stages whose updates have the key
    ``without`` are left out.
    """

    title: str
    note: str
    curves: tuple[tuple[str, str, str], ...]
    without: str = ""
    spread: str = ""
    from_zero: bool = True


PANELS = (
    Panel("Reward", "log-probability by the other role, ± its std", (("reward", "", ""),), spread="reward_std",
          from_zero=False),
    Panel("KL to the reference", "nats per token", (("kl", "", ""),)),
    Panel("Entropy", "nats per token", (("entropy", "", ""),)),
    Panel("Groups", "shares",
          (("unique_share", "distinct samples", "one"), ("zero_variance_groups", "groups without a signal", "two"))),
    Panel("Completion length", "tokens", (("completion_length", "", ""),)),
    Panel("Supervised loss", "nats per token",
          (("loss", "all", "one"), ("fwm_loss", "FWM", "fwm"), ("idm_loss", "IDM", "idm")), without="reward"),
)  # fmt: skip


def metric_charts(results: Row) -> str:
    """One chart a held-out metric: both roles, test solid and validation dashed, a point a stage."""
    stages = [stage for stage in results["stages"] if stage.get("metrics") or stage.get("validation")]
    keys = {key for stage in stages for split in ("metrics", "validation") for key in stage.get(split) or {}}
    places = {split_key(key) for key in keys if not open_loop_step(split_key(key)[1])}
    metrics = sorted({(where.rpartition("/")[0], metric) for where, metric in places}, key=lambda m: (m[0], rank(m[1])))
    bands = [Band(stage["stage"], i, i + 1, learner_of(stage["stage"], results)) for i, stage in enumerate(stages)]
    figures = []
    for environment, metric in metrics:
        title = f"{environment}: {label_of(metric)}" if environment else label_of(metric)
        place = f"{environment}/" if environment else ""
        lines, legend = [], []
        for role in ("fwm", "idm"):
            for split, dash in (("validation", " dashed"), ("metrics", "")):
                values = [number(stage.get(split) or {}, f"{place}{role}/{metric}") for stage in stages]
                drawn = [Point(i + 0.5, value) for i, value in enumerate(values) if value is not None]
                if not drawn:
                    continue
                lines.append(Line(tuple(drawn), role + dash, dots=not dash))
                if not dash:
                    legend.append((role, f"{role.upper()} {fixed(drawn[-1].y)}"))
        if lines:
            figures.append(_figure(title, "", legend, line_chart(title, lines, bands, from_zero=metric != "logp")))
    return "".join(figures)


def open_loop_charts(results: Row) -> str:
    """One chart a score of open-loop rollouts, over their steps: the last stage solid, the first one dashed."""
    stages = [stage["metrics"] for stage in results["stages"] if stage.get("metrics")]
    keys = {split_key(key)[1] for stage in stages for key in stage}
    steps = [step for key in keys if (step := open_loop_step(key))]
    figures = []
    for metric in sorted({metric for _, metric in steps}, key=rank):
        numbers = sorted(k for k, name in steps if name == metric)
        bands = [Band(f"step {k}", k - 0.5, k + 0.5, "") for k in numbers]
        lines = []
        for stage, dash in ((stages[0], " dashed"), (stages[-1], "")):
            values = [(k, number(stage, f"fwm/open_loop_{k}/{metric}")) for k in numbers]
            points = tuple(Point(k, value) for k, value in values if value is not None)
            lines += [Line(points, "fwm" + dash, dots=not dash)] if points else []
        chart = line_chart(label_of(metric), lines, bands, from_zero=True)
        figures.append(_figure(label_of(metric), "by step of a rollout", [], chart))
    return "".join(figures)


def training_charts(run: Run) -> str:
    """One chart a panel over the updates of the stages that have its values."""
    stages: dict[str, dict[float, Row]] = {}
    for row in run.history:
        rows = stages.setdefault(row["stage"], {})
        position = number(row, "update")
        rows[len(rows) if position is None else position] = row  # an update redone after a resume replaces the first
    return "".join(_panel(panel, stages, run.results) for panel in PANELS)


def time_table(run: Run) -> str:
    """Seconds and tokens a stage, with a bar that shows where the time went."""
    stages = run.results["stages"]
    longest = max((number(stage, "seconds") or 0.0 for stage in stages), default=0.0)
    rows = []
    for stage in stages:
        seconds, tokens = number(stage, "seconds"), number(stage, "tokens")
        name = escape(stage["stage"])
        shares = _shares([row for row in run.history if row["stage"] == stage["stage"]])
        parts = [(style, share * (seconds or 0.0)) for style, share in shares]
        spoken = ", ".join(f"{style} {share:.0%}" for style, share in shares)
        rate = tokens / seconds if tokens is not None and seconds else None
        cells = [_count(number(stage, "updates")), duration(seconds), _count(tokens)]
        cells += [_count(number(stage, "gradient_tokens")), _count(rate)]
        rows.append(
            f'<tr><th scope="row">{name}</th><td class="wide">{stacked_bar(spoken, parts, longest)}</td>'
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + "</tr>"
        )
    heads = ("", "updates", "time", "tokens", "with gradient", "tokens/s")
    legend = _legend([*((share, share) for share in SHARES), ("other", "other")])
    return (
        f'<p class="note">{legend}</p><div class="scroll"><table><thead><tr><th scope="col">stage</th>'
        + "".join(f'<th scope="col">{head}</th>' for head in heads)
        + f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def learner_of(stage: str, results: Row) -> str:
    """The role that alone learned in a stage; "both" where that is not so, or not known."""
    learners = {entry["stage"]: entry.get("learners") for entry in results["stages"]}.get(stage)
    return learners[0] if isinstance(learners, list) and learners in (["fwm"], ["idm"]) else "both"


def _panel(panel: Panel, stages: dict[str, dict[float, Row]], results: Row) -> str:
    bands: list[Band] = []
    lines: list[Line] = []
    legend: dict[tuple[str, str], None] = {}
    for stage, rows in stages.items():
        there = {key for row in rows.values() for key in row if number(row, key) is not None}
        keys = [curve for curve in panel.curves if curve[0] in there]
        if not keys or panel.without in there:
            continue
        learner = learner_of(stage, results)
        start = bands[-1].end if bands else 0.0
        first, last = min(rows), max(rows)
        bands.append(Band(stage, start, start + last - first + 1, learner))
        for key, label, style in keys:
            style = style or learner
            points = _points(rows, key, panel.spread, shift=start - first + 0.5)
            lines.append(Line(tuple(points), style))
            legend[style, label or ("both learn" if style == "both" else f"{style.upper()} learns")] = None
    if not lines:
        return ""
    return _figure(panel.title, panel.note, legend, line_chart(panel.title, lines, bands, from_zero=panel.from_zero))


def _points(rows: dict[float, Row], key: str, spread: str, shift: float) -> list[Point]:
    values = [(at, value, number(rows[at], spread) or 0.0) for at in sorted(rows)
              if (value := number(rows[at], key)) is not None]  # fmt: skip
    size = math.ceil(len(values) / POINTS)
    chunks = [values[i : i + size] for i in range(0, len(values), size)]
    return [Point(shift + fmean(c[0] for c in chunk), fmean(c[1] for c in chunk), fmean(c[2] for c in chunk))
            for chunk in chunks]  # fmt: skip


def _shares(rows: Sequence[Row]) -> list[tuple[str, float]]:
    """Mean share of a stage's time, by part; what is not accounted for is "other"."""
    shares = []
    for name in SHARES:
        values = [value for row in rows if (value := number(row, f"share_{name}")) is not None]
        shares.append((name, fmean(values) if values else 0.0))
    total = sum(share for _, share in shares)
    scale = 1 / max(total, 1.0)
    return [*((name, share * scale) for name, share in shares), ("other", max(0.0, 1 - total))]


def _figure(title: str, note: str, legend: Iterable[tuple[str, str]], chart: str) -> str:
    aside = f" <small>{escape(note)}</small>" if note else ""
    return f"<figure><figcaption><b>{escape(title)}</b>{aside}<br/>{_legend(legend)}</figcaption>{chart}</figure>"


def _legend(entries: Iterable[tuple[str, str]]) -> str:
    return "".join(f'<span class="key {style}">{escape(label)}</span>' for style, label in entries)


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
