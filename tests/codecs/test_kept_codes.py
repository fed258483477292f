"""Codes of a slow codebook on disk: encoded once, whatever ends a process, and whatever becomes of the file."""

import logging
import multiprocessing as mp
import os
import signal
import sqlite3

import numpy as np
import pytest

from swirl_lightning.codecs import CodecForm, Layout, kept_codes
from swirl_lightning.codecs.kept_codes import KeptCodes
from swirl_lightning.codecs.picture import PictureCodec
from swirl_lightning.codecs.tiles import Tiles
from swirl_lightning.models import ScratchPictureLM
from swirl_lightning.pictures import place_picture
from swirl_lightning.types import InputError, Transition

CELL, COLUMNS, COUNT = 4, 3, 6
PICTURES = [f"picture:{n}" for n in range(COUNT)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept" / "swirl-lightning"


class Encoder:
    """Codes that follow from a name; a line in a file, which all processes share, for each time it is asked."""

    def __init__(self, log, fails_at=None, fail=None):
        self.log, self.fails_at, self.fail = log, fails_at, fail

    def __call__(self, name):
        number = int(name.rpartition(":")[2])
        if number == self.fails_at:
            self.fail()
        with self.log.open("a") as file:
            file.write(f"{name}\n")
        return (number, 2**31 - 1, 0)

    @property
    def asked(self):
        return self.log.read_text().split() if self.log.exists() else []


@pytest.fixture
def encoder(tmp_path):
    return Encoder(tmp_path / "asked")


def right(found):
    return found == {name: (n, 2**31 - 1, 0) for n, name in enumerate(PICTURES)}


def test_a_picture_is_encoded_once(encoder, folder):
    assert right(KeptCodes("net").codes([*PICTURES[:2], *PICTURES], encoder))
    assert right(KeptCodes("net").codes(PICTURES[::-1], encoder))
    assert encoder.asked == PICTURES
    assert KeptCodes("another net").codes(PICTURES[:1], encoder)
    assert len(encoder.asked) == COUNT + 1
    assert len(list(folder.glob("codes-*.sqlite"))) == 2


def interrupt():
    raise KeyboardInterrupt


def test_what_stood_before_an_interrupt_is_kept(encoder):
    with pytest.raises(KeyboardInterrupt):
        KeptCodes("net").codes(PICTURES, Encoder(encoder.log, 4, interrupt))
    assert right(KeptCodes("net").codes(PICTURES, encoder))
    assert encoder.asked == PICTURES


def work(encoder, start=None):
    if start:
        start.wait()
    os._exit(0 if right(KeptCodes("net").codes(PICTURES, encoder)) else 1)


def test_after_a_kill_the_next_start_goes_on(encoder, monkeypatch):
    """With every code written at once; what was not written is encoded again."""
    monkeypatch.setattr(kept_codes, "SECONDS", 0)
    killed = Encoder(encoder.log, 4, lambda: os.kill(os.getpid(), signal.SIGKILL))
    process = mp.get_context("fork").Process(target=work, args=(killed,))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert right(KeptCodes("net").codes(PICTURES, encoder))
    assert encoder.asked == PICTURES


def test_two_processes_at_once_encode_once(encoder):
    context = mp.get_context("fork")
    start = context.Event()
    processes = [context.Process(target=work, args=(encoder, start)) for _ in range(2)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert sorted(encoder.asked) == PICTURES


def change_a_code(path):
    with sqlite3.connect(path) as table:
        table.execute("UPDATE codes SET codes = ? WHERE picture = ?", (bytes(12), PICTURES[3]))
    table.close()


DAMAGES = {
    "a code": (change_a_code, 1),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:5000]), COUNT),
    "something else": (lambda path: path.write_bytes(b"no database" * 1000), COUNT),
    "another table": (lambda path: path.write_bytes(path.read_bytes().replace(b"sum", b"mus")), 0),
    "empty": (lambda path: path.write_bytes(b""), COUNT),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_told_and_made_anew(encoder, folder, damage, caplog):
    KeptCodes("net").codes(PICTURES, encoder)
    harm, lost = DAMAGES[damage]
    harm(*folder.glob("*.sqlite"))
    for _ in range(2):
        assert right(KeptCodes("net").codes(PICTURES, encoder))
    assert len(encoder.asked) == COUNT + lost
    told = {record.getMessage() for record in caplog.records if record.levelno == logging.WARNING}
    if damage not in ("empty", "another table"):  # an empty file is a database with nothing in it
        assert len(told) == 1
        assert "is not as it was written: what is missing is encoded again" in told.pop()


@pytest.mark.parametrize("place", ["a file", "a folder of that name", "no locks"])
def test_without_a_place_it_is_held_in_memory(encoder, folder, place, monkeypatch, caplog):
    if place == "a file":
        folder.parent.write_text("")
    elif place == "a folder of that name":
        KeptCodes("net").path.mkdir(parents=True)
    else:
        monkeypatch.setattr(kept_codes, "lock", lambda path: (_ for _ in ()).throw(NotImplementedError("no flock")))
    kept = KeptCodes("net")
    assert right(kept.codes(PICTURES, encoder))
    assert right(kept.codes(PICTURES, encoder))
    (told,) = (record.getMessage() for record in caplog.records)
    assert "set HF_DATASETS_CACHE to a folder that can be written" in told


class SlowTiles(Tiles):
    """Tiles as a network would be: slow, and counted."""

    quick = False
    encoded = 0

    def encode(self, pixels_HW3):
        SlowTiles.encoded += 1
        return super().encode(pixels_HW3)


@pytest.fixture
def start(tmp_path, monkeypatch):
    """A codec as a start of a run makes it, and the log's transitions."""
    monkeypatch.setattr(SlowTiles, "encoded", 0)
    cells = np.random.default_rng(0).integers(0, 256, (COUNT + 1, COLUMNS, CELL, CELL, 3), np.uint8)
    drawn = [its.swapaxes(0, 1).reshape(CELL, COLUMNS * CELL, 3) for its in cells]
    names = [place_picture(tmp_path, picture) for picture in drawn]
    steps = [Transition("e", k, *names[k : k + 2], "go on") for k in range(COUNT)]
    size = (COLUMNS * CELL, CELL)
    tokenizer = ScratchPictureLM(size, cell=CELL, vocab_size=300).tokenizer(["go on"], Layout().markers)

    def make(kind=SlowTiles, codes=40):
        codebook = kind(Tiles.of(drawn, CELL, codes).tiles_NSS3, codes)
        return PictureCodec(tokenizer, codebook, 300, size, CodecForm({"": Layout()}, "full", 100)), steps

    return make


def test_a_second_start_encodes_no_picture(start, folder):
    """A network's codes come from disk; those of tiles, which are as soon made as read, are not written at all."""
    codec, steps = start()
    codec.encode_all(steps)
    expected = [codec.encode(step) for step in steps]
    assert SlowTiles.encoded == COUNT + 1
    again, _ = start()
    again.encode_all(steps)
    assert [again.encode(step) for step in steps] == expected
    assert again.losses([step.state for step in steps]).startswith(f"of {COUNT} pictures")
    assert SlowTiles.encoded == COUNT + 1
    start(codes=41)[0].encode_all(steps)
    assert SlowTiles.encoded == 2 * (COUNT + 1)
    assert len(list(folder.glob("*.sqlite"))) == 2
    start(Tiles, codes=42)[0].encode_all(steps)
    assert len(list(folder.glob("*.sqlite"))) == 2


def test_one_picture_at_a_time_is_kept_too(start):
    """As in a rollout from a picture of the user's."""
    codec, steps = start()
    codec.comparable(steps[0].state)
    assert start()[0].comparable(steps[0].state) == codec.comparable(steps[0].state)
    assert SlowTiles.encoded == 1


def test_a_picture_of_another_size_is_refused_and_not_kept(start, tmp_path):
    codec, steps = start()
    small = place_picture(tmp_path, np.zeros((CELL, CELL, 3), np.uint8))
    with pytest.raises(InputError, match=r"episode 'e' step 9: found a picture of 4 x 4 pixels"):
        codec.encode_all([*steps, Transition("e", 9, small, small, "go on")])
    start()[0].encode_all(steps)
    assert SlowTiles.encoded == COUNT + 1
