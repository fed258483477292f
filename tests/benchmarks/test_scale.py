"""The table of docs/speed.md is what was measured, and the log that is measured is read as one of few labels."""

import json
import os
import resource
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from scale import STEPS, usage, write_log

from swirl_lightning.environments.log import LogDataModule

ROOT = Path(__file__).parents[2]


def test_the_table_is_what_was_measured():
    cases = json.loads((ROOT / "benchmarks/results/scale.json").read_text())["cases"]
    page = (ROOT / "docs/speed.md").read_text(encoding="utf-8")
    section = page.partition("## Large logs")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    expected = [
        [
            f"{case['rows']:,}",
            *(
                f"{case[start]['seconds']:.0f} s ({case[start]['cpu_seconds']:.0f} s), "
                f"{case[start]['peak_bytes'] / 1e9:.2f} GB"
                for start in ("first", "second")
            ),
            f"{case['cache_bytes'] / 1e9:.2f} GB",
        ]
        for case in cases
    ]
    assert rows[2:] == expected
    assert [case["rows"] for case in cases] == [20_000, 200_000, 2_000_000]


def test_the_log_has_labels_in_one_episode_of_ten(tmp_path):
    write_log(tmp_path / "log.jsonl", 100 * STEPS)
    data = LogDataModule(tmp_path / "log.jsonl")
    data.setup()
    assert len(data.labelled + data.validation + data.test) == 10 * STEPS
    assert len(data.state_only) == 90 * STEPS
    assert all(t.state != t.next_state for t in data.training())


def test_usage_is_that_of_the_process():

    found = usage(os.getpid())
    assert found["peak_bytes"] == pytest.approx(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, rel=0.05)
    assert found["cpu_seconds"] == pytest.approx(sum(os.times()[:2]), abs=0.5)
