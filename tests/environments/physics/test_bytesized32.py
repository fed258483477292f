import copy
import json
from pathlib import Path

import pytest

from swirl_lightning.codecs import decode_delta, encode_delta
from swirl_lightning.environments.physics.bytesized32 import is_bytesized32, read_bytesized32
from swirl_lightning.environments.physics.objects import read_objects, write_objects
from swirl_lightning.environments.splits import SPLITS
from swirl_lightning.types import InputError

SLICE = Path(__file__).parents[4] / "shared/data/bytesized32-sp/test.jsonl"
QUARTERS = (0.25, 0.25, 0.25, 0.25)


def lamp(level):
    return [{"name": "lamp (ID: 1)", "uuid": 1, "type": "Lamp", "properties": {"level": level}, "contains": []}]


def row(game, state_id, level, action):
    """The action adds 1 to the level, the tick adds 10."""
    states = {
        name: {"objects": lamp(level + more), "lastAction": action, "observation": "", "max_UUID": 2}
        for name, more in (("current_state", 0), ("action_state", 1), ("tick_state", 11))
    }
    return states | {"game": game, "state_id": state_id, "current_score_state": {}, "next_score_state": {}}


def rows(first, count=8):
    """Two rows from each of the levels."""
    return [row("lamps", first + n, (first + n) // 2, f"turn {n}") for n in range(count)]


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "test.jsonl", rows(0))
    return tmp_path


def write(path, rows):
    path.write_text("".join(json.dumps(it) + "\n" for it in rows))


@pytest.mark.parametrize(("step", "first", "last"), [("action", 0, 1), ("tick", 1, 11), ("full", 0, 11)])
def test_a_transition_is_what_the_benchmark_calls_it(folder, step, first, last):
    t = next(t for part in read_bytesized32(folder, step, QUARTERS, 0).values() for t in part if t.action == "turn 0")
    assert (t.state, t.next_state) == (write_objects(lamp(first)), write_objects(lamp(last)))
    assert (t.episode, t.step) == ("lamps-0", 0)


@pytest.mark.parametrize("name", ["", "test.jsonl"])
def test_one_file_is_divided_by_the_world_that_rows_begin_in(folder, name):
    parts = read_bytesized32(folder / name, "full", QUARTERS, 0)
    assert [len(parts[split]) for split in SPLITS] == [2, 2, 2, 2]
    assert all(len({t.state for t in part}) == 1 for part in parts.values())
    assert parts == read_bytesized32(folder / name, "full", QUARTERS, 0)
    assert any(parts != read_bytesized32(folder / name, "full", QUARTERS, seed) for seed in (1, 2))


def test_the_published_test_split_is_kept(folder):
    write(folder / "train.jsonl", rows(100, 16))
    parts = read_bytesized32(folder, "full", QUARTERS, 0)
    assert [t.episode for t in parts["test"]] == [f"lamps-{n}" for n in range(8)]
    assert [len(parts[split]) for split in SPLITS[:3]] == [4, 8, 4]
    assert len({t.episode for part in parts.values() for t in part}) == 24


def without(*path):
    def change(it):
        for key in path[:-1]:
            it = it[key]
        del it[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("current_state"), r"test.jsonl:3: .* \(no 'current_state'\), expected game, state_id"),
        (without("action_state", "lastAction"), r":3: .* \(no 'lastAction'\)"),
        (without("tick_state", "objects", 0, "properties"), r":3: .* \(no 'properties'\)"),
        (without("game"), r":3: .* \(no 'game'\)"),
        (lambda it: it.update(tick_state=7), r":3: found a row that is not of ByteSized32"),
        (lambda it: it["tick_state"].update(objects=[7]), r":3: found a row that is not of ByteSized32"),
        (lambda it: it["tick_state"]["objects"][0].update(name="lamp"), r":3: .* names must be distinct and end in"),
        (lambda it: it["action_state"].update(lastAction=" "), r":3: action_state.lastAction: found ' ', expected"),
        (lambda it: it.update(state_id=0), r":3: state_id: found 'lamps-0' again \(first in line 1\)"),
    ],
)  # fmt: skip
def test_a_row_that_is_not_as_published_is_named(folder, change, message):
    wrong = copy.deepcopy(rows(0))
    change(wrong[2])
    write(folder / "test.jsonl", wrong)
    with pytest.raises(InputError, match=message):
        read_bytesized32(folder, "full", QUARTERS, 0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-40], ":8: found no valid JSON .* copy the file again"),
        (
            lambda data: data[:-40] + b"\xff",
            ":8: found the byte 0xff in column [0-9]+, expected UTF-8; .* copy it again",
        ),
        (lambda data: b"[1]", ":1: found a row that is not of ByteSized32.* take the file as published"),
    ],
)
def test_a_truncated_or_foreign_file_is_named_with_its_line(folder, damage, message):
    path = folder / "test.jsonl"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=f"test.jsonl{message}"):
        read_bytesized32(folder, "full", QUARTERS, 0)


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"test.jsonl: no such file, expected rows of ByteSized32"):
        read_bytesized32(tmp_path, "full", QUARTERS, 0)
    (tmp_path / "test.jsonl").write_text("")
    with pytest.raises(InputError, match=r"test.jsonl: found no rows"):
        read_bytesized32(tmp_path, "full", QUARTERS, 0)


def test_what_counts_as_the_benchmark(folder):
    assert is_bytesized32(folder)
    assert is_bytesized32(folder / "test.jsonl")
    (folder / "labelled.jsonl").touch()
    assert not is_bytesized32(folder)
    assert not is_bytesized32(folder / "nowhere")


@pytest.mark.skipif(not SLICE.is_file(), reason="no slice of ByteSized32-State-Prediction at hand")
def test_every_published_row_becomes_facts_with_a_short_edit():
    published = {f"{it['game']}-{it['state_id']}": it for it in map(json.loads, SLICE.open())}
    parts = read_bytesized32(SLICE, "full", (0.4, 0.4, 0.1, 0.1), 0)
    assert sum(map(len, parts.values())) == len(published) > 500
    for t in (t for part in parts.values() for t in part):
        it = published[t.episode]
        assert t.action == it["action_state"]["lastAction"]
        for text, name in ((t.state, "current_state"), (t.next_state, "tick_state")):
            objects = {o["uuid"]: o | {"contains": sorted(o["contains"])} for o in it[name]["objects"]}
            assert read_objects(text) == objects
        edit = encode_delta(t.state, t.next_state)
        assert "@" not in edit
        assert decode_delta(t.state, edit) == t.next_state
        assert len(edit) < len(t.next_state)
