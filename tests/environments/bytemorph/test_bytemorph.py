"""ByteMorph-Bench, as its release and SWIRL's read it, in Parquet files made here."""

from collections import Counter
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

pytest.importorskip("PIL")

from PIL import Image

from swirl_lightning.environments.bytemorph import ByteMorphDataModule
from swirl_lightning.pictures import file_of, name_of, pixels, write_image
from swirl_lightning.types import InputError

TYPES = ("camera_zoom", "Camera-Motion", "object motion", "human_motion", "interaction")


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "caches"))


def picture(n):
    return np.random.default_rng(n).integers(0, 256, (8, 8 + n % 3, 3), np.uint8)


def data_of(n, kind="PNG"):
    buffer = BytesIO()
    Image.fromarray(picture(n)).save(buffer, kind)
    return buffer.getvalue()


def rows_of(count=10):
    return [
        {
            "image_id": f"Id_{n}", "edit_type": TYPES[n % 5], "edit_prompt": f"move {n}",
            "edit_prompt_rewrite_instruction": f"Move the thing {n}." if n % 2 else None,
            "src_img": {"bytes": data_of(2 * n), "path": None}, "tgt_img": {"bytes": data_of(2 * n + 1), "path": "x"},
            "src_img_caption": f"before {n}", "tgt_img_caption": f"after {n}",
        }
        for n in range(count)
    ]  # fmt: skip


def write(folder, rows, name="data/test-00000-of-00001.parquet"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), folder / name)
    return folder


def read(folder, **options):
    data = ByteMorphDataModule(folder, **options)
    with pytest.warns(UserWarning, match="found no training rows"):
        data.setup()
    return data


def test_what_the_rows_say(tmp_path):
    data = read(write(tmp_path / "bm", rows_of()))
    assert Counter(t.environment for t in data.test) == dict.fromkeys(
        ("camera zoom", "camera motion", "object motion", "human motion", "interaction"), 2
    )
    assert [t.action for t in data.test[:2]] == ["move 0", "Move the thing 1."]
    assert [(t.state, t.next_state) for t in data.test] == [
        (name_of(picture(2 * n)), name_of(picture(2 * n + 1))) for n in range(10)
    ]
    assert file_of(data.test[3].state).read_bytes() == data_of(6)  # as it stands in the file
    assert data.captions[data.test[4].episode, 0] == ("before 4", "after 4")
    assert len({t.episode for t in data.test}) == 10


@pytest.mark.parametrize("kind", ["bytes", "path"])
def test_pictures_as_plain_bytes_and_as_paths(tmp_path, kind):
    rows = rows_of(2)
    for n, row in enumerate(rows):
        for m, field in enumerate(("src_img", "tgt_img")):
            (tmp_path / "bm/data").mkdir(parents=True, exist_ok=True)
            write_image(tmp_path / f"bm/data/{n}{m}.png", picture(2 * n + m))
            row[field] = data_of(2 * n + m, "PNG") if kind == "bytes" else f"{n}{m}.png"
    data = read(write(tmp_path / "bm", rows))
    assert np.array_equal(pixels(data.test[1].next_state), picture(3))


def test_types_are_chosen_and_a_new_one_can_be_named(tmp_path):
    rows = rows_of()
    rows[0]["edit_type"] = "weather"
    write(tmp_path / "bm", rows)
    with pytest.raises(
        InputError, match=r"row 1: edit_type: found 'weather', expected one of camera zoom, .*data\.types"
    ):
        ByteMorphDataModule(tmp_path / "bm").setup()
    assert [t.environment for t in read(tmp_path / "bm", types=["weather"]).test] == ["weather"]
    assert len(read(tmp_path / "bm", types=["human_motion", "interaction"]).test) == 4
    with pytest.raises(InputError, match=r"found no row of the types \['nothing'\]"):
        ByteMorphDataModule(tmp_path / "bm", types=["nothing"]).setup()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"edit_prompt": None},
            "row 1: found {'edit_prompt_rewrite_instruction': None, 'edit_prompt': None}, expected",
        ),
        ({"src_img": {"bytes": b"none", "path": None}}, r"row 1: src_img: .*found no readable image"),
        ({"src_img": {"bytes": None, "path": None}}, "row 1: src_img: found dict, expected the bytes of an image"),
        ({"src_img": {"bytes": None, "path": "gone.png"}}, r"1 of 2 rows name a file that is not there.*gone\.png"),
        ({"edit_type": None}, "row 1: edit_type: found None, expected text"),
    ],
)
def test_what_is_no_row_is_named(tmp_path, fields, told):
    rows = rows_of(2)
    rows[0] |= fields
    with pytest.raises(InputError, match=told):
        ByteMorphDataModule(write(tmp_path / "bm", rows)).setup()


def test_a_missing_column_a_damaged_file_and_none(tmp_path):
    rows = [{k: v for k, v in row.items() if k != "edit_type"} for row in rows_of(2)]
    with pytest.raises(InputError, match=r"row 1: edit_type: missing; found \['edit_prompt'"):
        ByteMorphDataModule(write(tmp_path / "a", rows)).setup()
    (tmp_path / "b").mkdir()
    (tmp_path / "b/one.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"one\.parquet: found no readable Parquet"):
        ByteMorphDataModule(tmp_path / "b").setup()
    (tmp_path / "c").mkdir()
    with pytest.raises(InputError, match="found no Parquet file, expected data/test"):
        ByteMorphDataModule(tmp_path / "c").setup()


def test_a_picture_is_unpacked_once_and_again_where_it_is_gone(tmp_path):
    data = read(write(tmp_path / "bm", rows_of(2)))
    files = sorted((tmp_path / "caches/swirl-lightning/pictures").iterdir())
    assert len(files) == 4
    assert {file.suffix for file in files} == {".png"}
    before = {file: file.stat().st_mtime_ns for file in files}
    files[0].unlink()
    again = read(tmp_path / "bm")
    assert again.test == data.test
    assert [file.stat().st_mtime_ns == before[file] for file in files] == [False, True, True, True]
