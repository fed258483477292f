"""What an update takes against its multiply-adds."""

import json
import sys
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import update_floor

ROOT = Path(__file__).parents[2]


def test_the_parts_of_a_run_are_timed_and_counted(toy_swirl, toy_data, toy_trainer, tmp_path):
    measure = update_floor.Measure(str(tmp_path / "found.json"))
    model = toy_swirl(lora=True)
    toy_trainer("vim", updates=3, callbacks=[measure]).fit(model, datamodule=toy_data())
    found = json.loads((tmp_path / "found.json").read_text())
    for part in update_floor.PARTS:
        assert len(found["seconds"][part]) == 2  # the third update is counted, not timed
        assert all(seconds > 0 for seconds in found["seconds"][part])
        assert found["flops"][part] > 0
    assert sum(found["seconds"][part][0] for part in update_floor.PARTS) <= found["seconds"]["all"][0]
    assert found["rate"] > 0


def test_products_that_are_added_in_place_count():
    a, b, out = torch.ones(3, 5), torch.ones(5, 7), torch.ones(3, 7)
    mapping = {torch.ops.aten.addmm_: update_floor.added_product_flops}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        out.addmm_(a, b)
    assert counter.get_total_flops() == 2 * 3 * 5 * 7


def test_the_page_has_the_measured_table():
    content = json.loads((ROOT / "benchmarks/results/update_floor.json").read_text())
    page = (ROOT / "docs/speed.md").read_text().splitlines()
    assert [line for line in update_floor.table(content).splitlines() if line not in page] == []
