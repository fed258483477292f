import math
import xml.etree.ElementTree as ET

import pytest

from swirl_lightning.report.svg import HEIGHT, LEFT, TOP, WIDTH, Band, Line, Point, _ticks, line_chart, stacked_bar

BANDS = [Band("vim-1", 0, 10, "vim"), Band('<"elbo">', 10, 20, "elbo")]


def chart(*points, from_zero=False):
    text = line_chart("a < b", [Line(tuple(points), "fwm", dots=True)], BANDS, from_zero=from_zero)
    return ET.fromstring(text)


def test_a_chart_is_well_formed_and_keeps_its_names():
    svg = chart(Point(5, 1.0), Point(15, 2.0))
    assert svg.get("aria-label") == "a < b"
    assert [rect.findtext("title") for rect in svg.findall("rect")] == ["vim-1", '<"elbo">']
    assert [dot.findtext("title") for dot in svg.findall("circle")] == ["1.000", "2.000"]


@pytest.mark.parametrize(
    ("ends", "labels"), [((50, 100), ["vim-1", "elbo-12"]), ((95, 100), ["v1"]), ((93, 100), ["v1", "e12"])]
)
def test_labels_shorten_together_and_vanish_where_there_is_no_room(ends, labels):
    bands = [Band("vim-1", 0, ends[0], "vim"), Band("elbo-12", *ends, "elbo")]
    svg = ET.fromstring(line_chart("a", [Line((Point(1, 1),), "fwm")], bands, from_zero=True))
    assert [text.text for text in svg.findall("text") if text.get("class") == "stage"] == labels


def test_higher_values_stand_higher_and_in_their_band():
    low, high = chart(Point(5, 1.0), Point(15, 2.0)).findall("circle")
    assert float(low.get("cy")) > float(high.get("cy"))
    first, second = (float(band.get("x")) for band in chart(Point(5, 1.0)).findall("rect"))
    assert first < float(low.get("cx")) < second < float(high.get("cx"))


def test_everything_stays_inside_the_frame():
    svg = chart(Point(0, -3.0, spread=1.0), Point(20, 250.0, spread=40.0), from_zero=True)
    corners = [tuple(map(float, pair.split(","))) for pair in svg.find("polygon").get("points").split()]
    assert all(LEFT <= x <= WIDTH and TOP <= y <= HEIGHT for x, y in corners)


@pytest.mark.parametrize("values", [[0.0], [-2.0], [0.0, 0.61], [-2.35, -1.77], [1e-7, 3e-7], [0, 12345], [1e9, 1e9]])
def test_ticks_are_few_and_enclose_the_values(values):
    ticks = _ticks(values)
    slack = 1e-6 * (ticks[-1] - ticks[0])
    assert 2 <= len(ticks) <= 6
    assert ticks[0] <= min(values) + slack
    assert max(values) <= ticks[-1] + slack
    assert all(math.isfinite(tick) for tick in ticks)


def test_a_stacked_bar_is_in_proportion():
    rects = ET.fromstring(stacked_bar("vim-1", [("update", 1.0), ("other", 3.0)], 8.0)).findall("rect")
    assert [(float(r.get("x")), float(r.get("width"))) for r in rects] == [(0.0, 12.5), (12.5, 37.5)]
    assert ET.fromstring(stacked_bar("empty", [("update", 0.0)], 0.0)) is not None
