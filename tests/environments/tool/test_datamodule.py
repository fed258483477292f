"""The data module of tools: which form a folder has, and what it brings along."""

import pytest

from swirl_lightning.environments.collection import write_collection
from swirl_lightning.environments.splits import SPLITS
from swirl_lightning.environments.tool import ToolDataModule
from swirl_lightning.types import InputError, Prediction, Transition


@pytest.fixture
def collected(tmp_path):
    parts = {
        s: [Transition(s, n, f"doc\n{n}", f"doc\n{n}\n{n}", f'put {{"n": {n}}}') for n in range(3)] for s in SPLITS
    }
    write_collection(tmp_path / "made", parts, {})
    return tmp_path / "made"


def test_a_collection_is_read(collected):
    data = ToolDataModule(collected, num_labels=2)
    data.setup()
    assert [len(its) for its in (data.labelled, data.state_only, data.validation, data.test)] == [2, 3, 3, 3]
    assert {t.environment for t in data.test} == {"tool"} == set(data.parts())
    assert all(t.action is None for t in data.state_only)
    assert data.splits == {split: split for split in SPLITS}


def test_a_collection_that_was_changed_is_refused(collected):
    (collected / "test.jsonl.gz").write_bytes((collected / "validation.jsonl.gz").read_bytes())
    with pytest.raises(InputError, match="test.jsonl.gz: found the sha256"):
        ToolDataModule(collected).setup()


@pytest.mark.parametrize("name", ["made", "nowhere"])
def test_another_folder_is_refused(tmp_path, name):
    (tmp_path / "made").mkdir()
    found = "found neither collection.json nor test_sft/" if name == "made" else "no such folder"
    with pytest.raises(InputError, match=f"{name}: {found}, expected .*swirl collect tool.* or MirrorAPI-Bench"):
        ToolDataModule(tmp_path / name).load("test")


def test_metrics_are_the_tools_own(collected):
    data = ToolDataModule(collected)
    data.setup()
    metrics = data.metrics()
    perfect = [Prediction(t.action, t.next_state) for t in data.test]
    for metric in metrics.values():
        metric.update(data.test, perfect)
    assert {name: metric.compute().item() for name, metric in metrics.items()} == pytest.approx(
        {"fwm_char_bleu": 100 * 2**-1.5, "idm_tool": 1, "idm_arguments": 1}  # responses of one character
    )


def test_its_words_are_its_own():
    assert ToolDataModule.layout.action == "\nCall:"
