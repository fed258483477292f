"""AURORA-Bench: thirty published rows where they are at hand, and the same layout with tiny pictures."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")

from swirl_lightning.environments.aurora import AuroraDataModule
from swirl_lightning.environments.benchmark import linked
from swirl_lightning.environments.log import LogDataModule
from swirl_lightning.pictures import fitted, name_of, pixels, write_image
from swirl_lightning.types import InputError, Transition

ROOT = Path(__file__).parents[3]
PLACES = (ROOT / "shared/data/aurora-bench", ROOT.parent / "shared/data/aurora-bench")
REAL = Path(os.environ.get("AURORA_BENCH", next((path for path in PLACES if path.is_dir()), "no-rows-here")))
"""A folder with test.json and the pictures of some of its rows: six of each task."""
TASKS = ("magicbrush", "ag", "something", "whatsup", "kubric")


def picture(n, height=8, width=8):
    return np.random.default_rng(n).integers(0, 256, (height, width, 3), np.uint8)


def make_bench(folder, rows=2, train=0):
    """The published layout; numbers of rows for each task, and of training rows of two of them."""
    test = []
    for t, task in enumerate(TASKS):
        images = folder / "data" / task / "images"
        images.mkdir(parents=True)
        for n in range(rows + train):
            before, after = (f"data/{task}/images/{n}_{side}.png" for side in ("left", "right"))
            write_image(folder / before, picture(1000 * t + 2 * n))
            write_image(folder / after, picture(1000 * t + 2 * n + 1, 8, 12))
            row = {"input": before, "output": after, "instruction": f"do {task} {n}"}
            if n < rows:
                test.append(row | {"task": task} | ({"caption": f"a {n}"} if task == "whatsup" else {}))
            elif task in ("ag", "magicbrush"):
                path = folder / "data" / task / "train.json"
                path.write_text(json.dumps([*(json.loads(path.read_text()) if path.exists() else []), row]))
    test.append({"input": "data/emu/images/0.png", "instruction": "no target", "task": "emu"})
    (folder / "test.json").write_text(json.dumps(test, indent=1))
    return folder


def change(folder, n, **fields):
    rows = json.loads((folder / "test.json").read_text())
    rows[n] |= fields
    (folder / "test.json").write_text(json.dumps([{k: v for k, v in row.items() if v is not ...} for row in rows]))


@pytest.mark.skipif(not REAL.is_dir(), reason="the published rows are not here")
def test_the_published_rows():
    data = AuroraDataModule(REAL)
    with pytest.warns(UserWarning, match="found no training rows"):
        data.setup()
    assert Counter(t.environment for t in data.test) == dict.fromkeys(TASKS, 6)
    assert data.test[0].action == "Put a cat on the seat."
    assert len(data.captions) == 6
    shapes = [(pixels(t.state).shape, pixels(t.next_state).shape) for t in data.test]
    assert sum(a != b for a, b in shapes) == 3  # of one size in no other task
    assert {a for a, b in shapes if a != b} == {(500, 500, 3)}
    links = linked(data.test[:6])
    assert [links.index(key) for key in links] == [0, 1, 1, 1, 4, 4]  # one picture is edited several times
    for t in data.test[:2]:
        assert fitted(pixels(t.state), (32, 32)).shape == fitted(pixels(t.next_state), (32, 32)).shape == (32, 32, 3)


def test_the_splits_of_a_published_layout(tmp_path):
    data = AuroraDataModule(make_bench(tmp_path, rows=2, train=12))
    data.setup()
    assert Counter(t.environment for t in data.test) == dict.fromkeys(TASKS, 2)
    assert len(data.labelled) + len(data.state_only) + len(data.validation) == 24
    assert all(t.action is None for t in data.state_only)
    assert {t.environment for t in data.labelled} <= {"ag", "magicbrush"}
    episodes = [{t.episode for t in split} for split in (data.labelled, data.state_only, data.validation, data.test)]
    assert sum(map(len, episodes)) == len(set.union(*episodes)) == 34
    assert data.test[0].state == name_of(picture(0))
    assert set(data.captions.values()) == {(None, "a 0"), (None, "a 1")}
    assert list(data.parts()) == ["magicbrush", "ag", "something", "whatsup", "kubric"]
    for name, part in data.parts().items():
        assert part.layout is data.layout
        assert part.load("test") == [t for t in data.test if t.environment == name]


def test_tasks_are_chosen(tmp_path):
    data = AuroraDataModule(make_bench(tmp_path), tasks=["kubric"], divide_test=False)
    with pytest.warns(UserWarning, match=r"name what trains with data\.train"):
        data.setup()
    assert [t.environment for t in data.test] == ["kubric"] * 2
    with pytest.raises(InputError, match=r"data\.tasks: found 'emu', expected names from magicbrush, "):
        AuroraDataModule(tmp_path, tasks=["emu"])


def test_a_log_of_videos_is_the_state_only_half(tmp_path):
    bench = make_bench(tmp_path / "bench", train=8)
    (tmp_path / "videos").mkdir()
    rows = []
    for n in range(3):
        write_image(tmp_path / f"videos/{n}.png", picture(-n - 1 + 10**6))
        rows.append({"episode": "v", "step": n, "image": f"{n}.png", "next_image": f"{(n + 1) % 3}.png"})
        if n == 1:
            rows[-1]["action"] = "never read"
    log = tmp_path / "videos/log.jsonl"
    for n in range(3):
        write_image(tmp_path / f"videos/{n}.png", picture(10**6 - n - 1))
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = AuroraDataModule(bench, state_only=log)
    with pytest.warns(UserWarning, match="1 actions; they are left out"):
        data.setup()
    assert [(t.episode, t.step, t.action) for t in data.state_only] == [("v", 0, None), ("v", 1, None), ("v", 2, None)]
    assert len(data.labelled) + len(data.validation) == 16
    assert {t.environment for t in data.state_only} <= data.parts().keys()  # whose prompts are those of all


def test_other_data_trains_and_the_test_rows_stay(tmp_path):
    """As AURORA trains what is measured on ByteMorph; rows of a log take the words and metrics of the benchmark."""
    train = AuroraDataModule(make_bench(tmp_path / "a", train=10))
    data = AuroraDataModule(make_bench(tmp_path / "b", rows=1), train=train, tasks=["kubric"], seed=7)
    data.setup()
    assert train.seed == 7
    assert [t.environment for t in data.test] == ["kubric"]
    assert (data.labelled, data.state_only, data.validation) == (train.labelled, train.state_only, train.validation)
    assert {"ag", "kubric", "magicbrush"} <= data.parts().keys()
    rows = [
        {"episode": f"e{n}", "step": 0, "image": f"{n}.png", "next_image": f"{n + 1}.png", "action": "go on"}
        for n in range(24)
    ]
    for n in range(25):
        write_image(tmp_path / f"{n}.png", picture(500 + n))
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = AuroraDataModule(tmp_path / "b", train=LogDataModule(tmp_path / "log.jsonl"), tasks=["kubric"])
    data.setup()
    assert {t.environment for t in data.training()} == {"kubric"}
    assert list(data.parts()) == ["kubric"]


def test_a_trial_divides_the_test_rows_by_linked_pictures(tmp_path):
    bench = make_bench(tmp_path, rows=3)
    change(bench, 1, input="data/magicbrush/images/0_right.png")  # the second edit goes on from the first
    data = AuroraDataModule(bench, divide_test=True)
    with pytest.warns(UserWarning, match="a trial, whose scores compare with no one's"):
        data.setup()
    splits = [data.labelled, data.state_only, data.validation, data.test]
    assert sum(map(len, splits)) == 15
    assert all(t.action is None for t in data.state_only)
    shown = [{its for t in split for its in (t.state, t.next_state)} for split in splits]
    assert sum(map(len, shown)) == len(set.union(*shown)) == 29


def test_linked_rows_have_one_key():
    rows = [Transition("e", 0, a, b) for a, b in ("ab", "cd", "ef", "bc", "gg")]
    keys = linked(rows)
    assert [keys.index(key) for key in keys] == [0, 0, 2, 0, 4]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"task": "cooking"}, r"test\.json: row 1: task: found 'cooking', expected one of magicbrush, "),
        ({"task": ...}, r"test\.json: row 1: task: found None"),
        ({"input": ...}, r"test\.json: row 1: input: missing; found \["),
        ({"output": 3}, r"test\.json: row 1: output: found 3, expected text"),
        ({"instruction": " "}, r"test\.json: row 1: instruction: found ' ', expected text"),
        ({"output": "data/none.png"}, r"1 of 10 rows name a file that is not there, the first: data/none\.png"),
        ({"output": "test.json"}, r"row 1: output: .*test\.json: found no readable image"),
    ],
)
def test_what_is_not_as_published_is_named(tmp_path, fields, told):
    bench = make_bench(tmp_path)
    change(bench, 1, **fields)
    with pytest.raises(InputError, match=told):
        AuroraDataModule(bench).setup()


def test_rows_without_their_pictures_are_left_out_if_wanted(tmp_path):
    bench = make_bench(tmp_path)
    change(bench, 1, output="data/none.png")
    with pytest.warns(UserWarning, match=r"1 of 10 rows .*none\.png; they are left out"):
        (data := AuroraDataModule(bench, skip_missing=True)).setup()
    assert len(data.test) == 9


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", r"test\.json:1: found broken JSON"), ("{}", "found no rows"), ('"a"', "found str, expected a JSON list")],
)
def test_a_file_of_something_else_is_named(tmp_path, text, told):
    (tmp_path / "test.json").write_text(text)
    with pytest.raises(InputError, match=told):
        AuroraDataModule(tmp_path).setup()


def test_a_missing_folder_and_options_that_exclude_each_other(tmp_path):
    with pytest.raises(InputError, match="no such folder, expected the benchmark"):
        AuroraDataModule(tmp_path / "none").setup()
    with pytest.raises(InputError, match=r"test\.json: no such file"):
        AuroraDataModule(tmp_path).setup()
    with pytest.raises(InputError, match="found train and divide_test, expected one of them"):
        AuroraDataModule(tmp_path, train=AuroraDataModule(tmp_path), divide_test=True)
