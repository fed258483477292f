import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from swirl_lightning.environments.collection import (
    check_episodes,
    describe_run,
    read_collection,
    share_seen,
    write_collection,
)
from swirl_lightning.environments.splits import SPLITS
from swirl_lightning.types import InputError, Transition


@pytest.fixture
def parts(episode):
    return {split: episode(split, length=n) for n, split in enumerate(SPLITS, start=2)}


@pytest.fixture
def folder(tmp_path, parts):
    write_collection(tmp_path / "made", parts, {"command": "swirl collect toy"})
    return tmp_path / "made"


def test_what_is_written_is_read_again(folder, parts):
    assert read_collection(folder) == parts | {"state_only": [replace(t, action=None) for t in parts["state_only"]]}
    record = json.loads((folder / "collection.json").read_text())
    assert record["command"] == "swirl collect toy"
    assert [record["files"][split]["transitions"] for split in SPLITS] == [2, 3, 4, 5]


def test_actions_of_the_state_only_half_are_never_written(folder):
    content = gzip.decompress((folder / "state_only.jsonl.gz").read_bytes()).decode()
    assert all("action" not in json.loads(line) for line in content.splitlines())


def test_the_record_begins_with_the_command_that_collects_again():
    arguments = {"tasks": ["boil", "melt"], "policy": "gold", "simplification": "", "limit": None}
    run = describe_run("toy", Path("some/where"), arguments, ["torch"])
    assert run["command"] == (
        "swirl collect toy --out where --tasks '[\"boil\", \"melt\"]' --policy gold --simplification '' --limit null"
    )
    assert run["arguments"] == arguments
    assert list(run["versions"]) == ["python", "swirl-lightning", "torch"]


def test_an_empty_split_is_named(tmp_path, parts):
    with pytest.raises(InputError, match="collected no transition for state_only, test, expected some"):
        write_collection(tmp_path / "made", parts | {"state_only": [], "test": []}, {})
    assert not (tmp_path / "made").exists()


def test_a_changed_file_is_told_by_its_hash(folder):
    path = folder / "test.jsonl.gz"
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content, mtime=1))  # packed anew: the same rows
    read_collection(folder)
    path.write_bytes(gzip.compress(content.replace(b"coin", b"corn")))
    with pytest.raises(InputError) as error:
        read_collection(folder)
    assert str(path) in str(error.value)
    assert "trajectories are stored once; collect again or restore the file" in str(error.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "labelled.jsonl.gz").unlink(), "labelled.jsonl.gz: no such file"),
        (
            lambda folder: (folder / "collection.json").unlink(),
            "found no collection.json, expected what 'swirl collect'",
        ),
        (lambda folder: (folder / "collection.json").write_text('{"files": {"labelled"'), "found no readable record"),
        (lambda folder: (folder / "collection.json").write_text('{"files": {}}'), "KeyError: 'labelled'"),
        (lambda folder: (folder / "collection.json").write_bytes(b"\xff{}"), "found no readable record"),
        (lambda folder: (folder / "test.jsonl.gz").write_bytes(b"not gzip"), "test.jsonl.gz: the gzip data is broken"),
        (
            lambda folder: (folder / "test.jsonl.gz").write_bytes((folder / "test.jsonl.gz").read_bytes()[:-12]),
            "test.jsonl.gz: the gzip data is broken",
        ),
    ],
)
def test_a_damaged_folder_is_named_with_its_cure(folder, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message) as error:
        read_collection(folder)
    assert "collect again" in str(error.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        read_collection(tmp_path / "nowhere")


def test_whole_episodes_pass_in_any_order(episode):
    check_episodes(Path("x"), [*reversed(episode("a")), *episode("b")])


@pytest.mark.parametrize(("missing", "step", "due"), [(0, 1, 0), (2, 3, 2)], ids=["no step 0", "no step in the middle"])
def test_a_missing_step_is_named(episode, missing, step, due):
    steps = episode("a")
    del steps[missing]
    with pytest.raises(InputError, match=f"x: episode 'a', step {step}: an episode with a gap: expected step {due}"):
        check_episodes(Path("x"), steps + episode("b"))


def test_a_step_that_begins_elsewhere_is_named(episode):
    steps = episode("a")
    steps[3] = Transition("a", 3, "elsewhere", steps[3].next_state, "go")
    with pytest.raises(InputError, match=r"episode 'a', step 3: .* gap: .* not the next_state of step 2"):
        check_episodes(Path("x"), steps)


def test_the_share_of_held_out_steps_that_training_has_seen():
    """Whatever their episode; the halves of training count alike, and so do both held-out splits."""
    a, b, c = (Transition(name, 0, f"at {name}", f"beyond {name}") for name in "abc")
    parts = {"labelled": [a], "state_only": [b], "validation": [replace(a, episode="other")], "test": [b, c, c]}
    assert share_seen(parts) == 0.5
    assert share_seen(parts | {"state_only": [c]}) == 0.75
