"""The table of docs/reliability.md is what was tried, and a fraction of it holds here and now."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_table_is_what_was_tried():
    kinds = json.loads((ROOT / "benchmarks/results/reliability.json").read_text())["kinds"]
    page = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    total = ["all", *(str(sum(kind[name] for kind in kinds)) for name in ("tried", "held"))]
    assert rows[2:] == [*([kind["kind"], str(kind["tried"]), str(kind["held"])] for kind in kinds), total]
    assert sum(kind["tried"] for kind in kinds) >= 500
    assert all(kind["tried"] - kind["held"] == len(kind["faults"]) for kind in kinds)


@pytest.mark.parametrize("kind", ["kills", "starts at once", "hostile files"])
def test_a_fraction_holds(kind, tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks/reliability.py"), "--quick", "--kinds", kind, "--out"]
    done = subprocess.run([*command, str(tmp_path / "out.json")], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads((tmp_path / "out.json").read_text())["kinds"]
    assert found["held"] == found["tried"] > 3
