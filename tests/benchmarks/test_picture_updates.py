"""Pictures of 1,024 codes: the memory plan against measured peaks, and seconds of an update, plain and shared."""

import json
import sys
from pathlib import Path

import pytest
import torch
from transformers import CONFIG_MAPPING

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import memory_pictures
import picture_updates
from memory_plan import RANK, SETS

from swirl_lightning.plan.memory import HOST, Memory
from swirl_lightning.plan.shapes import config_shape

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/speed.md").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def memory():
    return json.loads((ROOT / "benchmarks/results/memory_pictures.json").read_text())


@pytest.fixture(scope="module")
def updates():
    return json.loads((ROOT / "benchmarks/results/picture_updates.json").read_text())


def test_the_plan_is_within_15_percent_in_both_phases(memory):
    """What it predicts today is what stands in the file; HOST is for libraries that are not loaded there."""
    assert [case["phase"] for case in memory["phases"]] == ["vim", "elbo"]
    assert memory["model"] == memory_pictures.MODEL
    plan = Memory(config_shape(CONFIG_MAPPING["gemma"](**memory["model"])), 4, rank=RANK, sets=len(SETS))
    for case in memory["phases"]:
        for work in memory_pictures.PHASES[case["phase"]]:
            found = case["passes"][work.kind]
            predicted = plan.peak(work.planned, memory_pictures.GROUP).total
            assert predicted == pytest.approx(found["predicted"], rel=1e-6)
            assert abs((predicted - HOST) / found["measured"] - 1) < 0.15, (case["phase"], work.kind)
            assert abs(predicted / found["measured"] - 1) < 0.15, (case["phase"], work.kind)


def test_the_page_has_both_tables(memory, updates):
    for table in (memory_pictures.table(memory), picture_updates.table(updates)):
        assert [line for line in table.splitlines() if line not in PAGE] == []


def test_the_passes_are_those_of_the_two_phases():
    vim, elbo = ({work.kind: work for work in memory_pictures.PHASES[name]} for name in ("vim", "elbo"))
    picture, name = memory_pictures.PICTURE, memory_pictures.NAME
    assert [vim[kind].answer for kind in picture_updates.PARTS] == [picture, name, picture]
    assert [elbo[kind].answer for kind in picture_updates.PARTS] == [name, picture, name]
    assert all(work.planned.group_size == 8 for work in (*vim.values(), *elbo.values()))
    assert vim["update"].scored == elbo["scoring"].scored == 1024


def test_a_measurement_has_every_part_of_both_engines(monkeypatch, updates):
    """With pictures of four codes, in which nothing else differs."""
    small = {
        phase: [
            memory_pictures.Work(
                work.kind, memory_pictures.Answer(allowed=work.answer.allowed, length=4)
                if work.answer.length else work.answer, 9, min(work.before, 3), 4,
            )
            for work in works
        ]
        for phase, works in memory_pictures.PHASES.items()
    }  # fmt: skip
    monkeypatch.setattr(memory_pictures, "PHASES", small)
    sizes = picture_updates.MODEL | {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
    torch.set_num_threads(1)
    for phase in ("vim", "elbo"):
        found = picture_updates.measure(phase, 1, sizes)
        assert {name: sorted(parts) for name, parts in found.items()} == {
            name: sorted(picture_updates.PARTS) for name in ("plain", "shared")
        }
        assert all(seconds[0] > 0 for parts in found.values() for seconds in parts.values())
    assert list(updates["phases"]) == ["elbo", "vim"]
    for parts in updates["phases"].values():
        assert all(len(seconds) == updates["rounds"] for its in parts.values() for seconds in its.values())
