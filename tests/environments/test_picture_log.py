"""A log whose states are image files, as anybody's frames are."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from swirl_lightning.codecs import CodecForm, Layout
from swirl_lightning.environments.log import LogDataModule
from swirl_lightning.environments.rows import fields_of, read_rows, write_split
from swirl_lightning.models import ScratchLM
from swirl_lightning.pictures import name_of, pixels, write_image
from swirl_lightning.types import InputError

FRAMES = np.random.default_rng(1).integers(0, 256, (6, 8, 16, 3), np.uint8)


@pytest.fixture
def rows(tmp_path):
    (tmp_path / "frames").mkdir()
    for n, frame in enumerate(FRAMES):
        write_image(tmp_path / f"frames/{n}.png", frame)
    write_image(tmp_path / "frames/again.png", FRAMES[1])
    return [
        {
            "episode": f"e{n % 3}", "step": n // 3, "image": f"frames/{n % 6}.png",
            "next_image": "frames/again.png" if n % 6 == 0 else f"frames/{(n + 1) % 6}.png", "action": "go on",
        }
        for n in range(12)
    ]  # fmt: skip


def write(path, rows):
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", ["log.jsonl", "log.parquet"])
def test_rows_are_named_by_what_their_files_show(rows, tmp_path, name):
    read = read_rows(write(tmp_path / name, rows), actions=None)
    assert [t.state for t in read] == [name_of(FRAMES[n % 6]) for n in range(12)]
    assert [t.next_state for t in read] == [name_of(FRAMES[(n + 1) % 6]) for n in range(12)]  # again.png shows frame 1
    assert np.array_equal(pixels(read[2].state), FRAMES[2])
    assert {t.action for t in read} == {"go on"}


def test_a_data_module_of_them(rows, tmp_path):
    rows = [row | {"episode": str(n)} for n, row in enumerate(rows)]
    data = LogDataModule(write(tmp_path / "log.jsonl", rows))
    data.setup()
    assert {t.state for t in data.labelled} <= set(map(name_of, FRAMES))
    assert all(t.action is None for t in data.state_only)
    assert list(data.metrics()) == ["fwm_exact_cells", "fwm_changed_cells", "fwm_psnr", "fwm_ssim"]


def test_a_log_is_written_as_it_was_read(rows, tmp_path):
    read = read_rows(write(tmp_path / "log.jsonl", rows), actions=True)
    (tmp_path / "out").mkdir()
    write_split(tmp_path / "out", "labelled", list(read), True)
    assert list(read_rows(tmp_path / "out/labelled.jsonl.gz", actions=True)) == list(read)
    shutil.copytree(tmp_path / "frames", tmp_path / "copy/frames")
    write(tmp_path / "copy/log.jsonl", rows)
    assert list(read_rows(tmp_path / "copy/log.jsonl", actions=True)) == list(read)  # the same pictures elsewhere
    for folder in (tmp_path, tmp_path / "copy"):
        assert fields_of(read[3], folder)["image"] == "frames/3.png"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"image": "frames/none.png"}, r"log\.jsonl:2: image: .*none\.png: found no readable image"),
        ({"image": "log.jsonl"}, r"log\.jsonl:2: image: .*log\.jsonl: found no readable image"),
        ({"image": 3}, r"log\.jsonl:2: image: found 3 \(int\), expected text"),
        ({"state": "a text"}, r"log\.jsonl:2: found image and state, expected one of them"),
        ({"next_image": None}, r"log\.jsonl:2: next_image: found None"),
    ],
)
def test_what_is_no_picture_is_named(rows, tmp_path, changed, told):
    rows[1] |= changed
    with pytest.raises(InputError, match=told):
        read_rows(write(tmp_path / "log.jsonl", rows), actions=None)


@pytest.mark.parametrize("what", ["cut", "too large", "a document"])
def test_a_picture_that_harms_is_no_readable_one(rows, tmp_path, monkeypatch, what):
    """Half a file, one of more pixels than Pillow takes, and a format that Pillow starts another program for."""
    path = tmp_path / "frames/2.png"
    if what == "cut":
        path.write_bytes(path.read_bytes()[:60])
    elif what == "too large":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    else:
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n")
    with pytest.raises(InputError, match=r"log\.jsonl:\d: (next_)?image: .*\.png: found no readable image"):
        read_rows(write(tmp_path / "log.jsonl", rows), actions=None)


def test_a_missing_field_is_named(rows, tmp_path):
    del rows[0]["next_image"]
    with pytest.raises(InputError, match=r"log\.jsonl:1: next_state: missing"):
        read_rows(write(tmp_path / "log.jsonl", rows), actions=None)


def test_a_model_of_texts_refuses_a_picture(rows, tmp_path):
    """In place of training on its name."""
    read = read_rows(write(tmp_path / "log.jsonl", rows), actions=True)
    codec = ScratchLM(vocab_size=280).codec(["go on"], CodecForm({"": Layout()}, "full", 100))
    told = r"^episode 'e2' step 0: found a picture, expected a text: take a model\.base that reads pictures"
    with pytest.raises(InputError, match=told):
        codec.encode(read[2])
    with pytest.raises(InputError, match="^found a picture, expected a text"):
        codec.question(read[2].state, "go on")
    assert codec.encode(replace(read[2], state="picture: none", next_state="picture:"))  # any text is a text
