"""Whole pictures against changes, with embeddings of places and without: the page has what was measured."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import picture_places

ROOT = Path(__file__).parents[2]


def test_the_page_has_the_measured_table():
    content = json.loads((ROOT / "benchmarks/results/picture_places.json").read_text())
    page = (ROOT / "docs/pictures.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in picture_places.table(content).splitlines() if line not in page] == []
    assert {its["seed"] for its in content["runs"]} == {5, 6}  # no results elsewhere have these
    assert {(its["form"], its["places"]) for its in content["runs"]} == set(picture_places.ARMS)


def test_a_run_is_known_by_its_arm_its_seed_and_its_warm_up(tmp_path, monkeypatch):
    """Runs that are in the file already are not made again; each line of the table has an arm's seeds."""
    made = []

    def run(data, form, places, seed, updates):
        made.append((form, places, seed))
        scores = dict.fromkeys(picture_places.METRICS, seed / 10)
        return {"updates": list(updates), "form": form, "places": places, "seed": seed, "seconds": 1.0, **scores}

    monkeypatch.setattr(picture_places, "run", run)
    out = tmp_path / "found.json"
    for seeds, updates, expected in ((["5"], ["2", "1"], 4), (["5", "6"], ["2", "1"], 4), (["5"], ["3", "1"], 4)):
        made.clear()
        command = ["script", "--data", "x", "--out", str(out), "--seeds", *seeds, "--updates", *updates]
        monkeypatch.setattr(sys, "argv", command)
        picture_places.main()
        assert len(made) == expected
    lines = picture_places.table(json.loads(out.read_text())).splitlines()
    assert len(lines) == 2 + 8
    assert "| `full` | yes | 2 + 1 | 5, 6 | 0.500, 0.600 | 0.500, 0.600 | 0.500, 0.600 |" in lines
