import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from swirl_lightning.environments.collection import write_collection
from swirl_lightning.environments.physics import PhysicsDataModule
from swirl_lightning.environments.physics.metrics import StateAccuracy
from swirl_lightning.environments.splits import SPLITS
from swirl_lightning.types import InputError, Prediction

SLICE = Path(__file__).parents[4] / "shared/data/bytesized32-sp"


@pytest.fixture
def parts(episode):
    return {split: episode(split, length=4) for split in SPLITS}


def test_a_collection_is_read_and_named(tmp_path, parts):
    write_collection(tmp_path, parts, {})
    data = PhysicsDataModule(tmp_path)
    data.setup()
    assert data.labelled == [replace(t, environment="physics") for t in parts["labelled"]]
    assert [t.action for t in data.state_only] == [None] * 4
    assert data.splits == {split: split for split in SPLITS}
    assert list(data.parts()) == ["physics"]


def test_an_episode_with_a_gap_is_named_with_its_file(tmp_path, parts):
    del parts["test"][1]
    write_collection(tmp_path, parts, {})
    with pytest.raises(InputError, match=r"test.jsonl.gz: episode 'test', step 2: an episode with a gap"):
        PhysicsDataModule(tmp_path).setup()


def test_a_changed_trajectory_is_refused(tmp_path, parts):
    write_collection(tmp_path, parts, {})
    path = tmp_path / "labelled.jsonl.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"coin", b"corn")))
    with pytest.raises(InputError, match="trajectories are stored once; collect again or restore the file"):
        PhysicsDataModule(tmp_path).setup()


def test_a_missing_folder_is_named_with_both_ways_to_fill_it(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder.*swirl collect physics.*test.jsonl"):
        PhysicsDataModule(tmp_path / "nowhere").setup()
    with pytest.raises(InputError, match="found no collection.json"):
        PhysicsDataModule(tmp_path).setup()


def test_metrics_are_those_of_the_source(tmp_path, parts):
    write_collection(tmp_path, parts, {})
    assert list(PhysicsDataModule(tmp_path).metrics()) == ["fwm_rouge_l"]
    metrics = PhysicsDataModule(tmp_path / "test.jsonl").metrics()
    assert list(metrics) == ["fwm_rouge_l", "fwm_state_accuracy", "fwm_dynamic_accuracy", "fwm_static_accuracy"]
    assert [metric.of for metric in metrics.values() if isinstance(metric, StateAccuracy)] == [
        "all",
        "dynamic",
        "static",
    ]


def test_an_encoder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="no-encoder"):
        PhysicsDataModule(tmp_path, encoder=str(tmp_path / "no-encoder")).metrics()


@pytest.mark.skipif(not SLICE.is_dir(), reason="no slice of ByteSized32-State-Prediction at hand")
def test_the_slice_of_bytesized32_with_its_metrics(recwarn):
    data = PhysicsDataModule(SLICE, eval_limit=40)
    data.setup()
    assert not recwarn  # its state-only half loses its actions without a warning: all rows have one
    published = [json.loads(line) for line in (SLICE / "test.jsonl").open()]
    assert len(data.splits) == len(published)
    assert not any(t.action for t in data.state_only)
    metrics = data.metrics()
    right, wrong = ([Prediction("", text and t.next_state) for t in data.test] for text in (True, None))
    copied = [Prediction("", t.state) for t in data.test]
    for predictions, values in ((right, (1, 1, 1)), (wrong, (0, 0, 0)), (copied, (None, 0, 1))):
        for metric, value in zip(list(metrics.values())[1:], values, strict=True):
            metric.update(data.test, predictions)
            assert value is None or metric.compute() == value
            assert 0 < metric.count <= 40
            metric.reset()
