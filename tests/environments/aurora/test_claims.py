"""DiscEdit's claims as published, and the callback that reads them."""

import json

import numpy as np
import pytest

from swirl_lightning.callbacks import DiscEdit, PlanChoice
from swirl_lightning.environments.aurora import AuroraDataModule
from swirl_lightning.pictures import name_picture, write_image
from swirl_lightning.types import InputError


@pytest.fixture
def bench(tmp_path):
    (tmp_path / "data/ag/images").mkdir(parents=True)
    for n in range(3):
        write_image(tmp_path / f"data/ag/images/{n}.png", np.full((4, 4, 3), 50 * n, np.uint8))
    return tmp_path


def write(bench, rows, task="ag", name="valid.json"):
    path = bench / "disc_edit_data" / task / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))
    return AuroraDataModule(bench)


ROWS = [
    {"prompt": "open it", "pos": "shut it", "input": "data/ag/images/0.png", "output": "data/ag/images/1.png"},
    {"prompt": "none is true of it", "input": "data/ag/images/1.png", "output": "data/ag/images/2.png"},
    {"pos": "on it", "neg": "under it", "image": "data/ag/images/2.png"},
    {"prompt": "gone", "pos": "there", "input": "data/ag/images/none.png"},
]


def test_claims_of_published_rows(bench):
    data = write(bench, ROWS[:2])
    write(bench, ROWS[2:3], "whatsup", "itm_test.json")
    found = data.claims()
    assert [(its.true, its.false, its.subset) for its in found] == [
        ("shut it", "open it", "ag"), ("on it", "under it", "whatsup"),
    ]  # fmt: skip
    assert [its.state for its in found] == [name_picture(bench / f"data/ag/images/{n}.png") for n in (0, 2)]
    assert len(DiscEdit(claims=1).items(data)) == 1
    assert sorted(DiscEdit().items(data)) == sorted(found)


def test_rows_without_their_picture_are_told(bench):
    with pytest.warns(
        UserWarning, match=r"1 of 2 rows name a file that is not there, the first: data/ag/images/none\.png"
    ):
        assert len(write(bench, [ROWS[0], ROWS[3]]).claims()) == 1
    with pytest.raises(InputError, match="1 of 1 rows name a file that is not there"):
        write(bench, [ROWS[3]]).claims()


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ({}, "found dict, expected a JSON list"),
        ([{"pos": "a", "input": "data/ag/images/0.png"}], "row 0: prompt: missing"),
        ([{"pos": "a", "prompt": "b"}], "row 0: image: missing"),
        ([ROWS[0] | {"input": "disc_edit_data/ag/valid.json"}], "row 0: input: .*found no readable image"),
        ([ROWS[1]], "found no row with pos, expected some"),
    ],
)
def test_what_is_not_as_published_is_named(bench, rows, told):
    with pytest.raises(InputError, match=told):
        write(bench, rows).claims()


def test_data_without_claims_or_plans(bench, toy_data):
    with pytest.raises(InputError, match=r"found no valid\.json or itm_test\.json of magicbrush, "):
        AuroraDataModule(bench).claims()
    with pytest.raises(InputError, match="DiscEdit: found no claims in ToyData, expected AuroraDataModule"):
        DiscEdit().items(toy_data())
    with pytest.raises(InputError, match="PlanChoice: found no plans in ToyData, expected data with plans"):
        PlanChoice().items(toy_data())
