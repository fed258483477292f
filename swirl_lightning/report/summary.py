"""A run in one paragraph of plain words: did it gain, by how much, and where not."""

from __future__ import annotations

from swirl_lightning.report.gains import Comparison, Gain, duration, fixed

ROLES = {"fwm": "forward world model (FWM)", "idm": "inverse dynamics model (IDM)"}


def summary(comparison: Comparison) -> str:
    """The paragraph on top of the report, as plain text."""
    if comparison.before is None:
        return "No stage of this run has been measured on held-out episodes yet."
    if comparison.after is None:
        return f"Only {comparison.before} has been measured on held-out episodes: there is nothing to compare yet."
    leads = [gain for role in ROLES if (gain := _lead(comparison, role))]
    sentences = [_sentence(gain) for gain in leads]
    rest = [gain for gain in comparison.gains if gain.verdict and gain not in leads]
    if fallen := [gain for gain in rest if gain.verdict == "down"]:
        sentences.append("Worse: " + ", ".join(_short(gain) for gain in fallen) + ".")
    if unmoved := [gain for gain in rest if gain.verdict == "same"]:
        sentences.append("Unchanged: " + ", ".join(f"{gain.role.upper()} {gain.label}" for gain in unmoved) + ".")
    if rest and not fallen and not unmoved:
        sentences.append("Every other score rose too." if _all_up(leads) else "Every other score rose.")
    took = f"{comparison.updates} updates, {duration(comparison.seconds)}"
    sentences.append(f"All of this between {comparison.before} and {comparison.after} ({took}), on held-out episodes.")
    sentences.append("It is one run with one seed: a small difference can be chance.")
    return " ".join(sentences)


def _lead(comparison: Comparison, role: str) -> Gain | None:
    """The role's first scored metric that was measured twice: exact match where there is one."""
    return next((gain for gain in comparison.gains if gain.role == role and gain.verdict), None)


def _all_up(gains: list[Gain]) -> bool:
    return all(gain.verdict == "up" for gain in gains)


def _sentence(gain: Gain) -> str:
    verb = {"up": "gained", "down": "lost", "same": "did not change"}[gain.verdict]
    assert gain.before is not None
    assert gain.after is not None
    if gain.metric == "exact_match":
        old, new = f"{gain.before:.1%}", f"{gain.after:.1%}"
        moved = f"{100 * (gain.after - gain.before):+.1f} points"
    else:
        old, new, moved = fixed(gain.before), fixed(gain.after), fixed(gain.difference, sign=True)
    return f"The {ROLES[gain.role]} {verb}: {gain.label} went from {old} to {new} ({moved})."


def _short(gain: Gain) -> str:
    return f"{gain.role.upper()} {gain.label} ({fixed(gain.before)} to {fixed(gain.after)})"
