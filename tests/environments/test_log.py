import json
from collections import Counter
from dataclasses import replace

import pytest

from swirl_lightning.environments.collection import write_collection
from swirl_lightning.environments.log import LogDataModule
from swirl_lightning.environments.rows import write_split
from swirl_lightning.environments.splits import SPLITS
from swirl_lightning.types import InputError


def write(path, transitions):
    rows = [
        {name: getattr(t, name) for name in ("episode", "step", "state", "next_state", "action")} for t in transitions
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def log(tmp_path, episode):
    return write(tmp_path / "log.jsonl", [t for i in range(10) for t in episode(f"e{i}")])


@pytest.fixture
def folder(tmp_path, episode):
    for split in SPLITS:
        write_split(tmp_path, split, episode(split), split != "state_only")
    return tmp_path


@pytest.mark.filterwarnings("ignore:.*the state-only half")
def test_a_single_file_is_split_by_episode_and_the_split_is_recorded(log):
    data = LogDataModule(log)
    data.setup()
    parts = {split: {t.episode for t in getattr(data, split)} for split in SPLITS}
    assert Counter(data.splits.values()) == {"labelled": 4, "state_only": 4, "validation": 1, "test": 1}
    assert {episode: split for split, episodes in parts.items() for episode in episodes} == data.splits
    assert sum(len(getattr(data, split)) for split in SPLITS) == 50
    other = LogDataModule(log, seed=1)
    other.setup()
    assert other.splits != data.splits


def test_no_action_of_the_state_only_half_can_be_reached(log):
    data = LogDataModule(log)
    with pytest.warns(UserWarning, match=r"log\.jsonl: the state-only half has 20 actions") as caught:
        data.setup()
    assert len(caught) == 1
    assert all(t.action is None for t in data.state_only + data.load("state_only"))


def some_labels(episode, every, episodes=30, length=20):
    """Of 600 rows, one in ``every`` has an action."""
    rows = [t for i in range(episodes) for t in episode(f"e{i}", length)]
    return [t if every and n % every == 3 else replace(t, action=None) for n, t in enumerate(rows)]


@pytest.mark.parametrize("form", ["one file", "two files"])
def test_few_labels_in_any_episode(tmp_path, episode, caplog, form):
    """60 of 600 rows have an action: all of them are used, held out by whole episodes, and the others train."""
    rows = some_labels(episode, 10)
    if form == "one file":
        path = write(tmp_path / "log.jsonl", rows)
    else:
        path = tmp_path
        write(path / "labelled.jsonl", [t for t in rows if t.action])
        write(path / "state_only.jsonl", [t for t in rows if not t.action])
    data = LogDataModule(path)
    with caplog.at_level("INFO", "swirl_lightning"):
        data.setup()
    held_out = {t.episode for t in data.validation + data.test}
    labels = data.labelled + data.validation + data.test
    assert len(labels) == 60
    assert {(t.episode, t.step) for t in labels} == {(t.episode, t.step) for t in rows if t.action}
    assert not {t.episode for t in data.validation} & {t.episode for t in data.test}
    assert not held_out & {t.episode for t in data.labelled + data.state_only}
    assert len(data.labelled) == 40
    assert len(data.validation) == len(data.test) == 10
    assert len(data.state_only) == 540 - 9 * 20 // 10 * len(held_out)
    assert all(t.action is None for t in data.state_only)
    assert {t.episode for t in data.labelled} <= {t.episode for t in data.state_only}  # one episode in both halves
    assert "60 of 600 rows have an action" in caplog.text
    assert f"{540 - len(data.state_only)} without one are in held-out episodes" in caplog.text
    other = LogDataModule(path, seed=1)
    other.setup()
    assert {t.episode for t in other.test} != {t.episode for t in data.test}


@pytest.mark.parametrize(("every", "found"), [(600, "1 rows with an action in 1 episodes"), (0, "0 rows")])
def test_too_few_labels_are_told_how_many_are_needed(tmp_path, episode, every, found):
    path = write(tmp_path / "log.jsonl", some_labels(episode, every))
    with pytest.raises(InputError, match=rf"log\.jsonl: found {found}.*expected at least 20 in 3.*field action"):
        LogDataModule(path).setup()


def test_labels_in_two_episodes_are_too_few(tmp_path, episode):
    rows = [t for i in range(2) for t in episode(f"e{i}", 20)] + episode("e2", 20, actions=False)
    with pytest.raises(InputError, match="found 40 rows with an action in 2 episodes"):
        LogDataModule(write(tmp_path / "log.jsonl", rows)).setup()


def test_a_folder_is_read_as_it_is(folder, episode):
    data = LogDataModule(folder)
    data.setup()
    for split in SPLITS:
        assert getattr(data, split) == episode(split, actions=split != "state_only")
        assert data.splits[split] == split


def test_a_collection_is_compared_with_its_record(tmp_path, episode):
    """Whoever reads it: a file that was changed since is refused."""
    write_collection(tmp_path, {split: episode(split) for split in SPLITS}, {})
    assert LogDataModule(tmp_path).load("test") == episode("test")
    write_split(tmp_path, "test", episode("test", 4), True)
    with pytest.raises(InputError, match=r"test\.jsonl\.gz: found the sha256 .*collect again or restore the file"):
        LogDataModule(tmp_path).load("test")


def test_files_are_read_once(folder):
    data = LogDataModule(folder)
    first = data.load("test")
    for path in folder.iterdir():
        path.unlink()
    assert data.load("test") is first
    assert data.load("labelled")


def test_a_folder_needs_each_split_once(folder, episode):
    (folder / "test.jsonl.gz").rename(folder / "tests.jsonl.gz")
    with pytest.raises(InputError, match=r"found no file for the split test, expected one of test\{\.jsonl,"):
        LogDataModule(folder).load("labelled")
    write(folder / "validation.jsonl", episode("validation"))
    with pytest.raises(InputError, match=r"found \['validation\.jsonl', 'validation\.jsonl\.gz'\] for the split"):
        LogDataModule(folder).load("labelled")


def test_an_episode_in_two_splits_is_refused(folder, episode):
    write_split(folder, "test", episode("labelled"), True)
    with pytest.raises(InputError, match="episode 'labelled' is in labelled and in test"):
        LogDataModule(folder).load("labelled")


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        LogDataModule(tmp_path / "nowhere").setup()
