"""Files of results: few lines, nothing lost that a table needs, and the pages beside them are made from them."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gain_table
import quickstart_gain
from results_file import dumps, rounded, write

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
CONTENT = {"a": 1, "b": "x", "rows": [{"seed": 0, "arms": {"y": [1.5, None], "z": []}}, {}], "c": True}


@pytest.mark.parametrize("depth", range(6))
def test_nothing_is_lost_whatever_stands_on_one_line(depth):
    assert json.loads(dumps(CONTENT, depth, width=20)) == CONTENT


def test_neighbours_without_parts_share_a_line():
    assert dumps(CONTENT, 3, width=0).splitlines() == [
        "{", ' "a": 1, "b": "x",', ' "rows": [', "  {", '   "seed": 0,', '   "arms": {"y": [1.5, null], "z": []}',
        "  },", "  {}", " ],", ' "c": true', "}",
    ]  # fmt: skip


def test_what_is_short_is_not_divided():
    assert dumps(CONTENT, 3).splitlines() == [json.dumps(CONTENT)]
    assert dumps(CONTENT, 4, width=40).splitlines() == [
        "{", ' "a": 1, "b": "x",', ' "rows": [', "  {", '   "seed": 0,', '   "arms": {"y": [1.5, null], "z": []}',
        "  },", "  {}", " ],", ' "c": true', "}",
    ]  # fmt: skip
    assert max(map(len, dumps({"rows": [{"x": list(range(50))}] * 3}, 9).splitlines())) <= 200


def test_figures_have_eight_digits(tmp_path):
    values = {"x": (0.123456789012, 123456789, -1e-9, float("inf")), "y": {"z": 2 / 3}}
    expected = {"x": [0.12345679, 123456789, -1e-9, float("inf")], "y": {"z": 0.66666667}}
    assert rounded(values) == expected
    write(tmp_path / "deep" / "r.json", values, depth=1)
    assert json.loads((tmp_path / "deep" / "r.json").read_text()) == expected
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["r.json"]


@pytest.mark.parametrize("page", sorted(RESULTS.glob("*.md")), ids=lambda page: page.stem)
def test_pages_are_made_from_their_files(page):
    assert page.read_text() == gain_table.tables(json.loads(page.with_suffix(".json").read_text()))


def test_results_stay_small():
    assert len(list(RESULTS.glob("*.json"))) >= 10
    assert sum(path.read_text().count("\n") for path in RESULTS.iterdir()) < 2500


def test_gains_of_the_quickstart_are_over_the_warm_up_of_the_same_seed():
    def arm(fwm, idm, **spent):
        return {"metrics": {"fwm/exact_match": fwm, "idm/exact_match": idm}, **spent}

    seeds = [
        {"seed": 3, "arms": {"warm-up": arm(0.5, 0.25), "swirl": arm(0.75, 0.25, seconds=60.0, gradient_tokens=3000)}},
        {"seed": 4, "arms": {"warm-up": arm(0.25, 0.5), "swirl": arm(0.75, 1.0, seconds=80.0, gradient_tokens=5000)}},
    ]
    page = quickstart_gain.table(seeds)
    (cells,) = ([c.strip() for c in line.split("|")[1:-1]] for line in page.splitlines() if "swirl" in line)
    assert cells[2] == "0.750 ± 0.000 (+0.375 ± 0.177; 2 of 2)"
    assert cells[5] == "0.625 ± 0.530 (+0.250 ± 0.354; 1 of 2)"
    assert cells[-2:] == ["70", "4 k"]
    assert "| warm-up |  | 0.375 ± 0.177 |" in page
