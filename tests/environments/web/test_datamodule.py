import json

import pytest

from swirl_lightning.environments.collection import write_collection
from swirl_lightning.environments.splits import SPLITS
from swirl_lightning.environments.web import WebDataModule
from swirl_lightning.types import InputError, Prediction, Transition


def steps(episode):
    pages = ["<input id=q>\n<button> Go", "<input id=q value=a>\n<button> Go", "<h1> Done"]
    actions = ["TYPE <input id=q> = a", "CLICK <button> Go"]
    return [Transition(episode, n, pages[n], pages[n + 1], actions[n]) for n in range(2)]


@pytest.fixture
def folder(tmp_path):
    write_collection(tmp_path / "made", {split: steps(split) for split in SPLITS}, {"command": "swirl collect web"})
    return tmp_path / "made"


def test_a_collection_is_read_and_its_transitions_are_of_the_web(folder):
    data = WebDataModule(folder)
    data.setup()
    assert {t.environment for split in SPLITS for t in getattr(data, split)} == {"web"}
    assert [t.action for t in data.test] == ["TYPE <input id=q> = a", "CLICK <button> Go"]
    assert [t.action for t in data.state_only] == [None, None]
    assert data.splits == {split: split for split in SPLITS}
    assert list(data.parts()) == ["web"]
    assert data.layout.start == "Page:\n"


def test_metrics_of_the_web(folder):
    metrics = WebDataModule(folder).metrics()
    assert set(metrics) == {"fwm_rouge_l", "idm_operation", "idm_element", "idm_arguments"}
    for metric in metrics.values():
        metric.update(steps("e"), [Prediction("TYPE <input id=q> = b", "<h1> Done"), Prediction("CLICK", "<h1> Done")])
    found = {name: metric.compute().item() for name, metric in metrics.items()}
    assert found == pytest.approx({"fwm_rouge_l": 0.5, "idm_operation": 1, "idm_element": 0.5, "idm_arguments": 0})


def test_a_changed_collection_is_refused(folder):
    (folder / "test.jsonl.gz").write_bytes((folder / "labelled.jsonl.gz").read_bytes())
    with pytest.raises(InputError, match="found the sha256"):
        WebDataModule(folder).setup()


def test_an_episode_with_a_gap_is_refused(folder):
    parts = {split: steps(split) for split in SPLITS}
    write_collection(folder, parts | {"test": [steps("test")[0], Transition("test", 2, "x", "y", "CLICK")]}, {})
    with pytest.raises(InputError, match="'test', step 2: an episode with a gap"):
        WebDataModule(folder).setup()


def test_mind2web_is_read_without_a_record(tmp_path):
    def action(typed):
        page = f'<input backend_node_id="1" value="{typed}"/>'
        operation, candidates = {"op": "TYPE", "value": "b"}, [{"backend_node_id": "1"}]
        return {"cleaned_html": page, "operation": operation, "pos_candidates": candidates}

    for name, count in {"train": 4, "test_domain": 1}.items():
        tasks = [
            {"annotation_id": f"{name}{n}", "action_reprs": ["", ""], "actions": [action("a"), action("b")]}
            for n in range(count)
        ]
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / f"{name}_0.json").write_text(json.dumps(tasks))
    data = WebDataModule(tmp_path, test="test_domain")
    data.setup()
    assert data.test == [
        Transition("test_domain0", 0, "<input value=a>", "<input value=b>", "TYPE <input value=a> = b", "web")
    ]
    assert [len(getattr(data, split)) for split in SPLITS] == [1, 1, 2, 1]


def test_a_missing_folder_and_a_budget_of_nothing(tmp_path):
    with pytest.raises(InputError, match="no such folder, expected Mind2Web's data or what 'swirl collect web' writes"):
        WebDataModule(tmp_path / "none").setup()
    with pytest.raises(InputError, match="no folder data/train"):
        WebDataModule(tmp_path).setup()
    with pytest.raises(InputError, match="data.budget: found 0"):
        WebDataModule(tmp_path, budget=0)
