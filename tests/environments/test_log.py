import json
from collections import Counter

import pytest

from swirl_lightning.environments.log import LogDataModule
from swirl_lightning.environments.rows import write_split
from swirl_lightning.environments.splits import SPLITS, assign_splits
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


@pytest.mark.filterwarnings("ignore:.*the state-only half")
def test_a_single_file_needs_actions_in_the_other_splits(tmp_path, episode):
    path = write(tmp_path / "log.jsonl", [t for i in range(10) for t in episode(f"e{i}", 2, actions=i > 0)])
    LogDataModule(path, seed=seed_that_puts("e0", "state_only")).setup()
    with pytest.raises(InputError, match=r"log\.jsonl:1: action: found none"):
        LogDataModule(path, seed=seed_that_puts("e0", "test")).setup()


def seed_that_puts(episode, split):
    keys = [f"e{i}" for i in range(10)]
    return next(i for i in range(999) if assign_splits(keys, (0.4, 0.4, 0.1, 0.1), i, "episode")[episode] == split)


def test_a_folder_is_read_as_it_is(folder, episode):
    data = LogDataModule(folder)
    data.setup()
    for split in SPLITS:
        assert getattr(data, split) == episode(split, actions=split != "state_only")
        assert data.splits[split] == split


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
