"""Before and after: which two stages are compared, and by how much each held-out metric moved."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from swirl_lightning.report.run import Row, number

LABELS = {
    "exact_match": "exact match",
    "changed_exact_match": "exact match, changed rows",
    "copy_exact_match": "exact match of a copy",
    "token_f1": "token F1",
    "delta_f1": "delta F1",
    "logp": "log-prob, nats/token",
    "unique": "unique actions",
    "copied": "changed rows copied",
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
}
_KEY = re.compile(r"((?:[^/]+/)?(?:fwm|idm))/(.+)")  # of one environment among several, or of all data
_OPEN_LOOP = re.compile(r"open_loop_(\d+)/(.+)")
SCORED = {
    "exact_match",
    "changed_exact_match",
    "token_f1",
    "delta_f1",
    "logp",
}  # higher is better; the others only tell


@dataclass(frozen=True, slots=True)
class Gain:
    """One metric at two stages. A value that was not measured is None.

    Args:
        key: role and metric, as in ``fwm/exact_match``, or after an environment's name: ``web/fwm/exact_match``.
        before: value at the earlier stage.
        after: value at the later stage.
    """

    key: str
    before: float | None
    after: float | None

    @property
    def role(self) -> str:
        """``fwm``, or ``web fwm``."""
        return split_key(self.key)[0].replace("/", " ")

    @property
    def metric(self) -> str:
        """The rest of the key."""
        return split_key(self.key)[1]

    @property
    def label(self) -> str:
        """The metric in words."""
        return label_of(self.metric)

    @property
    def difference(self) -> float | None:
        """After minus before."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def verdict(self) -> Literal["up", "down", "same", ""]:
        """Whether a scored metric moved by what three decimals can show; empty when that cannot be said."""
        if self.difference is None or self.metric not in SCORED:
            return ""
        moved = round(self.difference, 3)
        return "up" if moved > 0 else "down" if moved < 0 else "same"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The two stages of the before/after table.

    Args:
        before: name of the first stage with metrics, normally the warm-up; None when nothing is measured yet.
        after: name of the last stage with metrics; None when there is no second one.
        gains: one entry a metric, the FWM's first.
        updates: updates made after ``before``, up to and with ``after``.
        seconds: seconds these took.
        path: names of the stages from ``before`` to ``after``; what a gate has thrown away is marked.
    """

    before: str | None
    after: str | None
    gains: tuple[Gain, ...]
    updates: int
    seconds: float
    path: tuple[str, ...]


def compare(results: Row) -> Comparison:
    """Compare the first measured stage with the last one; a stage after which no role can answer has no metrics."""
    stages = results["stages"]
    measured = [index for index, stage in enumerate(stages) if stage.get("metrics")]
    if not measured:
        return Comparison(None, None, (), 0, 0.0, ())
    first, last = measured[0], measured[-1]
    old, new = stages[first]["metrics"], stages[last]["metrics"] if last > first else {}
    between = stages[first + 1 : last + 1]
    return Comparison(
        before=stages[first]["stage"],
        after=stages[last]["stage"] if last > first else None,
        gains=tuple(Gain(key, number(old, key), number(new, key)) for key in sorted(_shown({*old, *new}), key=_order)),
        updates=round(sum(number(stage, "updates") or 0 for stage in between)),
        seconds=sum(number(stage, "seconds") or 0 for stage in between),
        path=tuple(
            stage["stage"] + (" (not kept)" if stage.get("discarded") else "") for stage in stages[first : last + 1]
        ),
    )


def label_of(metric: str) -> str:
    """A metric's name in words; one we do not know is shown by its own name."""
    if rollout := _OPEN_LOOP.fullmatch(metric):
        return f"{label_of(rollout[2])}, step {rollout[1]}"
    return LABELS.get(metric, metric.replace("_", " "))


def split_key(key: str) -> tuple[str, str]:
    """Where a metric was taken, ``fwm`` or ``web/fwm``, and its name."""
    found = _KEY.fullmatch(key)
    return (found[1], found[2]) if found else (key.partition("/")[0], key.partition("/")[2])


def open_loop_step(metric: str) -> tuple[int, str] | None:
    """Step and metric of an open-loop rollout's score; None for any other."""
    found = _OPEN_LOOP.fullmatch(metric)
    return (int(found[1]), found[2]) if found else None


def fixed(value: float | None, *, sign: bool = False) -> str:
    """A value with three decimals, or "-" for None. Never "-0.000"."""
    if value is None:
        return "-"
    rounded = round(value, 3) + 0.0
    return f"{rounded:+.3f}" if sign else f"{rounded:.3f}"


def duration(seconds: float | None) -> str:
    """Seconds in the units a reader would say."""
    if seconds is None:
        return "-"
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def rank(metric: str) -> tuple[int, str]:
    """Sort key of a metric's name: the known ones in the order of ``LABELS``, then the others by name."""
    known = list(LABELS)
    return known.index(metric) if metric in known else len(known), metric


def _shown(keys: Iterable[str]) -> list[str]:
    """All, but of open-loop rollouts only the exact match at the first and at the last step."""
    steps = {key: step for key in keys if (step := open_loop_step(split_key(key)[1]))}
    ends = {min(k for k, _ in steps.values()), max(k for k, _ in steps.values())} if steps else set()
    return [key for key in keys if key not in steps or (steps[key][0] in ends and steps[key][1] == "exact_match")]


def _order(key: str) -> tuple[int, str, tuple[int, str]]:
    where, metric = split_key(key)
    return where.count("/"), where, rank(metric)
