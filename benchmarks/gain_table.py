"""The tables of a gain benchmark in Markdown, from its file of results, whole or not yet.

    python benchmarks/gain_table.py benchmarks/results/physics_gain.json

Means and standard deviations are over seeds, gains are over the warm-up of the same seed.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ARMS = (
    "warm-up", "best-of-n", "sft-continue", "bootstrap-continue", "bootstrap-mixed", "bootstrap-merge", "swirl",
    "swirl-bootstrap", "warm-up-shared", "swirl-shared",
)  # fmt: skip
METRICS = {
    "fwm/exact_match": "FWM exact match",
    "fwm/delta_f1": "FWM delta F1",
    "fwm/logp": "FWM log-prob",
    "idm/exact_match": "IDM exact match",
    "idm/token_f1": "IDM token F1",
    "idm/logp": "IDM log-prob",
}
MONITORS = {
    "zero_variance_groups": "groups without variance",
    "entropy": "entropy",
    "kl": "KL",
    "completion_length": "tokens sampled",
    "unique_share": "distinct samples",
    "reward": "reward",
}


class Point(NamedTuple):
    """Where an arm stood at the end of one of its iterations, in one seed.

    Args:
        name: the arm, with the iteration where there are several.
        seed: of the run.
        metrics: of the split that the benchmark reports.
        before: the same of the warm-up.
        seconds: used until then, since the warm-up.
        tokens: gradient tokens used until then, since the warm-up.
    """

    name: str
    seed: int
    metrics: dict[str, float]
    before: dict[str, float]
    seconds: float
    tokens: int


def points(rows: Sequence[dict[str, Any]], split: str) -> Iterator[Point]:
    """The points of the arms of one number of labels."""
    key = {"test": "metrics", "validation": "validation"}[split]
    warm = {(row["seed"], row["arm"]): row["stages"][-1][key] for row in rows if row["arm"].startswith("warm-up")}
    for row in rows:
        stages, starts = row["stages"], row["arm"].startswith("warm-up")
        before = warm[row["seed"], "warm-up-shared" if "shared" in row["arm"] else "warm-up"]
        iterations = sorted({stage["iteration"] for stage in stages})
        for iteration in iterations:
            until = [stage for stage in stages if stage["iteration"] <= iteration]
            name = row["arm"] if len(iterations) == 1 else f"{row['arm']}, iteration {iteration}"
            spent = [] if starts else until
            yield Point(
                name, row["seed"], until[-1][key], before,
                sum(stage["seconds"] for stage in spent), sum(stage["gradient_tokens"] for stage in spent),
            )  # fmt: skip


def tables(content: dict[str, Any]) -> str:
    """All tables, for each number of labels."""
    recipe, rows = content["settings"]["recipe"], content["rows"]
    split = content["settings"]["split"]
    seeds = sorted({row["seed"] for row in rows})
    parts = [
        f"`{content['command']}`\n\n{content['machine']}; {split} split; seeds {', '.join(map(str, seeds))}. "
        "Mean ± standard deviation over seeds; in brackets the gain over the warm-up and in how many seeds there was "
        "one; log-probs in nats per token; seconds and gradient tokens since the warm-up.\n"
    ]
    for labels in sorted({row["labels"] for row in rows}):
        column = sorted((row for row in rows if row["labels"] == labels), key=_order)
        transitions = sorted({row["transitions"] for row in column})
        parts.append(f"### {labels} labelled episodes ({_span(transitions)} transitions)\n")
        by_name: dict[str, list[Point]] = {}
        for point in points(column, split):
            by_name.setdefault(point.name, []).append(point)
        parts += [gains(by_name, recipe["metric"]), relative(by_name, recipe), monitors(column)]
    return "\n".join(part for part in parts if part)


def gains(by_name: dict[str, list[Point]], main: str) -> str:
    """What each arm reached."""
    shown = {main: main.replace("/", " ").replace("fwm", "FWM").replace("_", " ")} | METRICS
    lines = _head("after", *shown.values(), "seconds", "gradient tokens")
    for name, found in by_name.items():
        cells = [_gain(found, metric, start=name.startswith("warm-up")) for metric in shown]
        tokens = statistics.mean(point.tokens for point in found)
        cells += [f"{statistics.mean(p.seconds for p in found):.0f}", f"{tokens / 1e3:.0f} k"]
        lines.append(_line(name, *cells))
    return "\n".join(lines) + "\n"


def relative(by_name: dict[str, list[Point]], recipe: dict[str, Any]) -> str:
    """Relative gains of the paper's metric over the warm-up, beside the paper's own."""
    main = recipe["metric"]
    lines = _head("relative gain", main, "the paper's")
    for name, found in by_name.items():
        values = [100 * (p.metrics[main] / p.before[main] - 1) for p in found if main in p.metrics and p.before[main]]
        if values and not name.startswith("warm-up"):
            lines.append(_line(name, f"{_spread(values, '+.1f')} %", recipe["published"] if "swirl" in name else ""))
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def monitors(rows: Sequence[dict[str, Any]]) -> str:
    """Signs of collapse, at the beginning and the end of each RL stage, and in the actions of the held-out part."""
    lines = _head("stage", *MONITORS.values(), "held-out unique actions", "their log-prob under the base")
    keys = [(row["arm"], stage["stage"]) for row in rows for stage in row["stages"]]
    for arm, name in dict.fromkeys(keys):
        stages = [s for row in rows if row["arm"] == arm for s in row["stages"] if s["stage"] == name]
        if stages[0].get("phase") not in ("vim", "elbo") and not arm.startswith("warm-up"):
            continue
        cells = [_ends([s.get("monitors", {}).get(monitor) for s in stages]) for monitor in MONITORS]
        for metric in ("idm/unique", "idm/base_logp"):
            values = [s["metrics"][metric] for s in stages if s["metrics"].get(metric) is not None]
            cells.append(_spread(values, ".2f") if values else "")
        lines.append(_line(f"{arm}: {name}", *cells))
    return "\n".join(lines) + "\n"


def _order(row: dict[str, Any]) -> tuple[int, str]:
    arm = row["arm"]
    return (ARMS.index(arm), "") if arm in ARMS else (len(ARMS), arm)  # those of --tune


def _gain(found: Sequence[Point], metric: str, *, start: bool) -> str:
    pairs = [(p.metrics.get(metric), p.before.get(metric)) for p in found]
    known = [(after, before) for after, before in pairs if after is not None and before is not None]
    if not known:
        return ""
    text = _spread([after for after, _ in known], ".3f")
    if start:
        return text
    change = [after - before for after, before in known]
    return f"{text} ({_spread(change, '+.3f')}; {sum(c > 0 for c in change)} of {len(change)})"


def _spread(values: Sequence[float], form: str) -> str:
    mean = format(statistics.mean(values), form)
    return mean if len(values) < 2 else f"{mean} ± {format(statistics.stdev(values), form.lstrip('+'))}"


def _ends(pairs: Sequence[list[float] | None]) -> str:
    known = [pair for pair in pairs if pair is not None]
    mean: Callable[[int], float] = lambda i: statistics.mean(pair[i] for pair in known)  # noqa: E731
    return f"{mean(0):.3g} → {mean(1):.3g}" if known else ""


def _span(values: Sequence[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _head(*cells: str) -> list[str]:
    return [_line(*cells), "|" + " --- |" * len(cells)]


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    print(tables(json.loads(parser.parse_args().results.read_text())))


if __name__ == "__main__":
    main()
