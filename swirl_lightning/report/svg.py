"""Small charts as inline SVG: no script, no font; colours from the page's style sheet, well-formed XML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from swirl_lightning.report.escape import escape

WIDTH, HEIGHT = 340, 180
LEFT, RIGHT, TOP, BOTTOM = 40, 8, 8, 22  # room around the plot; WIDTH of a card on a phone, so text keeps its size
LETTER = 5.6  # mean width of a letter of a band's label


class Point(NamedTuple):
    """A value on a chart.

    Args:
        x: position in the units of the bands.
        y: value.
        spread: half the height of the shaded area around the line.
    """

    x: float
    y: float
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """Points that are joined.

    Args:
        points: from left to right.
        style: CSS classes, which give the colour.
        dots: mark each point, with its value as a tooltip.
    """

    points: tuple[Point, ...]
    style: str
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """A stage on the x axis, from ``start`` to ``end``, tinted by the CSS class ``style``."""

    label: str
    start: float
    end: float
    style: str


def line_chart(name: str, lines: Sequence[Line], bands: Sequence[Band], *, from_zero: bool) -> str:
    """Lines over bands.

    Args:
        name: what a screen reader says.
        lines: at least one, with at least one point in all.
        bands: at least one, from left to right.
        from_zero: show zero on the y axis.
    """
    start, end = bands[0].start, bands[-1].end
    points = [point for line in lines for point in line.points]
    ticks = _ticks([p.y - p.spread for p in points] + [p.y + p.spread for p in points] + [0.0] * from_zero)

    def at_x(x: float) -> float:
        return LEFT + (x - start) / (end - start) * (WIDTH - LEFT - RIGHT)

    def at_y(y: float) -> float:
        return TOP + (ticks[-1] - y) / (ticks[-1] - ticks[0]) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">']
    for band, label in zip(bands, _labels(bands, (WIDTH - LEFT - RIGHT) / (end - start)), strict=True):
        left, width = at_x(band.start), at_x(band.end) - at_x(band.start)
        parts.append(
            f'<rect class="band {escape(band.style)}" x="{left:.1f}" y="{TOP}" width="{max(width - 1, 0.5):.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}"><title>{escape(band.label)}</title></rect>'
        )
        if label:
            parts.append(f'<text class="stage" x="{left + width / 2:.1f}" y="{HEIGHT - 7}">{escape(label)}</text>')
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    for tick in ticks:
        y = at_y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 5}" y="{y + 3.5:.1f}">{_tick_label(tick, decimals)}</text>')
    for line in lines:
        if any(point.spread for point in line.points):
            edge = [(p.x, p.y + p.spread) for p in line.points] + [(p.x, p.y - p.spread) for p in line.points[::-1]]
            corners = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in edge)
            parts.append(f'<polygon class="spread {line.style}" points="{corners}"/>')
    for line in lines:
        corners = " ".join(f"{at_x(p.x):.1f},{at_y(p.y):.1f}" for p in line.points)
        parts.append(f'<polyline class="line {line.style}" points="{corners}"/>')
        for p in line.points if line.dots or len(line.points) == 1 else ():
            parts.append(
                f'<circle class="dot {line.style}" cx="{at_x(p.x):.1f}" cy="{at_y(p.y):.1f}" r="3">'
                f"<title>{p.y:.3f}</title></circle>"
            )
    return "".join([*parts, "</svg>"])


def stacked_bar(name: str, parts: Sequence[tuple[str, float]], whole: float) -> str:
    """One bar of coloured parts, side by side.

    Args:
        name: what a screen reader says.
        parts: CSS class and amount of each part.
        whole: the amount that fills the width.
    """
    shapes, left = [], 0.0
    for style, amount in parts:
        width = 100 * amount / whole if whole > 0 else 0.0
        shapes.append(f'<rect class="part {style}" x="{left:.2f}" y="0" width="{width:.2f}" height="10"/>')
        left += width
    head = f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{escape(name)}">'
    return "".join([head, *shapes, "</svg>"])


def _ticks(values: Sequence[float]) -> list[float]:
    """Three to six round numbers that enclose the values."""
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(1.0, abs(high)):
        pad = max(abs(high), 1.0) * 0.1
        low, high = (low, high + pad) if low == 0 else (low - pad, high + pad)
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def _tick_label(tick: float, decimals: int) -> str:
    return f"{tick:.{decimals}f}" if abs(tick) < 1e5 and decimals < 5 else f"{tick:.1e}"


def _labels(bands: Sequence[Band], scale: float) -> list[str]:
    """The bands' labels if all have room, else their first letters and numbers ("v2"), else nothing where none has."""

    def fits(label: str, band: Band) -> bool:
        return len(label) * LETTER <= (band.end - band.start) * scale

    if all(fits(band.label, band) for band in bands):
        return [band.label for band in bands]
    short = [band.label[:1] + "".join(letter for letter in band.label if letter.isdigit()) for band in bands]
    return [label if fits(label, band) else "" for label, band in zip(short, bands, strict=True)]
