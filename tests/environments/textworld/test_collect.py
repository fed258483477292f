import gzip
import hashlib
import json
import os
import subprocess
import sys
from importlib.metadata import version
from itertools import pairwise

import pytest

from swirl_lightning.environments.splits import SPLITS, kind
from swirl_lightning.environments.textworld.collect import World, collect_textworld, play
from swirl_lightning.environments.textworld.datamodule import QUICKSTART, TextWorldDataModule
from swirl_lightning.types import InputError

KINDS = {"close", "drop", "eat", "insert", "lock", "open", "put", "take", "unlock"}


@pytest.fixture(scope="module")
def data():
    data = TextWorldDataModule()
    data.setup()
    return data


@pytest.fixture(scope="module")
def record():
    return json.loads((QUICKSTART / "collection.json").read_text())


def key(transition):
    return transition.state, transition.next_state


def test_the_files_are_those_of_the_record(record):
    for split in SPLITS:
        content = gzip.decompress((QUICKSTART / f"{split}.jsonl.gz").read_bytes())
        assert hashlib.sha256(content).hexdigest() == record["files"][split]["sha256"]
        assert content.count(b"\n") == record["files"][split]["transitions"]
    assert sum(path.stat().st_size for path in QUICKSTART.iterdir()) < 1_000_000


def test_the_state_only_half_has_no_action_column():
    content = gzip.decompress((QUICKSTART / "state_only.jsonl.gz").read_bytes()).decode()
    assert all(set(json.loads(line)) == {"episode", "step", "state", "next_state"} for line in content.splitlines())


def test_no_game_is_in_two_splits_and_few_transitions_are(data, record):
    games = {split: {t.episode.split("-")[0] for t in getattr(data, split)} for split in SPLITS}
    assert {split: sorted(its) for split, its in games.items()} == record["games"]
    assert sum(map(len, games.values())) == len(set().union(*games.values())) == 50
    training = {key(t) for t in data.labelled + data.state_only}
    held_out = data.validation + data.test
    overlap = sum(key(t) in training for t in held_out) / len(held_out)
    assert overlap == pytest.approx(record["held_out_seen_in_training"], abs=1e-4)
    assert overlap < 0.02


def test_every_kind_of_action_is_among_few_labels():
    data = TextWorldDataModule(num_labels=50)
    data.setup()
    assert {kind(t.action) for t in data.labelled} == KINDS == {kind(t.action) for t in data.test}


def check_transitions(transitions):
    """State and action decide the next state, and the states the action: both models have a task they can solve."""
    assert len({(*key(t), t.action) for t in transitions}) == len({(t.state, t.action) for t in transitions})
    assert len({(*key(t), t.action) for t in transitions}) == len({key(t) for t in transitions})
    for t in transitions:
        assert t.state != t.next_state
        for state in (t.state, t.next_state):
            assert state.splitlines() == sorted(set(state.splitlines()))
        words = t.action.split()
        assert set(words[1:]) - {"from", "into", "on", "with"} <= set(t.state.split())


def test_transitions_are_functions(data):
    check_transitions(data.labelled + data.validation + data.test)


def test_the_language_is_small(data):
    training = data.labelled + data.state_only
    words = {word for t in training for word in f"{t.state} {t.next_state} {t.action or ''}".split()}
    assert len(words) == 47
    assert {
        word for t in data.validation + data.test for word in f"{t.state} {t.next_state} {t.action}".split()
    } <= words
    assert max(len(t.state.split()) for t in training) < 40


def test_names_change_from_episode_to_episode(data):
    first = [next(t for t in data.labelled if t.episode == name) for name in sorted({t.episode for t in data.labelled})]
    rooms = [t.state.split("at ")[1].split()[0] for t in first]
    assert {a == b for a, b in pairwise(rooms)} == {True, False}


def test_a_missing_package_is_said_with_its_cure(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "textworld", None)
    with pytest.raises(InputError, match=r"pip install 'swirl-lightning\[textworld\]'"):
        collect_textworld(tmp_path)


def test_sizes_must_be_positive(tmp_path):
    with pytest.raises(InputError, match="steps: found 0, expected at least 1"):
        collect_textworld(tmp_path, steps=0)


class TestCollection:
    """What needs the engine."""

    @pytest.fixture(autouse=True)
    def _engine(self):
        pytest.importorskip("textworld")

    def test_two_games_of_the_quickstart_come_out_again(self, data, record):
        if record["versions"]["textworld"] != version("textworld"):
            pytest.skip("another version of TextWorld")
        arguments = record["arguments"]
        world = World(*(arguments[name] for name in ("world_size", "nb_objects", "quest_length")))
        for split in ("labelled", "test"):
            name = record["games"][split][0]
            again = play(int(name[1:]), arguments["steps"], arguments["seed"], world)
            assert again == [t for t in getattr(data, split) if t.episode.startswith(f"{name}-")]

    @pytest.mark.filterwarnings("ignore:Not enough variation")
    def test_larger_worlds_have_doors_and_numbered_names(self):
        transitions = [t for game in range(3) for t in play(game, 100, 0, World(8, 30, 3))]
        check_transitions(transitions)
        words = {word for t in transitions for word in t.action.split()}
        assert words & {"gate", "hatch"}
        assert words & {"box2", "apple2", "book2"}

    def test_the_same_bytes_under_another_hash_seed(self, tmp_path):
        options = {"games": 4, "steps": 60, "fractions": (0.25, 0.25, 0.25, 0.25)}
        first, again, other = (tmp_path / name / "made" for name in ("first", "again", "other"))
        collect_textworld(first, **options)
        collect_textworld(other, seed=1, **options)
        code = (
            "from pathlib import Path; from swirl_lightning.environments.textworld.collect import collect_textworld; "
            f"collect_textworld(Path({str(again)!r}), **{options})"
        )
        subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": "1"}, check=True)
        names = {f"{split}.jsonl.gz" for split in SPLITS} | {"collection.json"}
        assert {path.name for path in first.iterdir()} == names
        assert all((first / name).read_bytes() == (again / name).read_bytes() for name in names)
        assert all((first / name).read_bytes() != (other / name).read_bytes() for name in names)
        TextWorldDataModule(first).setup()
