"""Tables on disk: written once, whole or not there, and a run goes on without them."""

import errno
import logging
import os
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pytest

from swirl_lightning.codecs import cache
from swirl_lightning.codecs.cache import cache_folder, kept_table
from swirl_lightning.types import InputError

SCHEMA = pa.schema([("number", pa.int64())])
ROWS = list(range(100))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept" / "swirl-lightning"


class Maker:
    """Makes the rows, and counts how often it is asked to."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        for start in range(0, len(ROWS), 10):
            yield pa.record_batch([ROWS[start : start + 10]], schema=SCHEMA)


def read(make):
    return kept_table("table", SCHEMA, make)["number"].to_pylist()


def test_it_is_written_once(folder):
    make = Maker()
    assert [read(make) for _ in range(3)] == [ROWS] * 3
    assert make.calls == 1
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".lock") == ["table.arrow", "table.sum"]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HF_DATASETS_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a/swirl-lightning"),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/swirl-lightning"),
        ({"HOME": "/c"}, "/c/.cache/swirl-lightning"),
    ],
)
def test_variables_move_the_folder(monkeypatch, variables, expected):
    for name in ("HF_DATASETS_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(cache_folder()) == expected


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def turn_a_bit(path):
    data = bytearray(path.read_bytes())
    data[data.index((55).to_bytes(8, "little"))] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "cut": cut,
    "one bit": turn_a_bit,
    "empty": lambda path: path.write_bytes(b""),
    "something else": lambda path: path.write_bytes(b"no table" * 100),
    "no checksum": lambda path: path.with_suffix(".sum").unlink(),
    "no number as checksum": lambda path: path.with_suffix(".sum").write_text("none"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_broken_is_written_again(folder, damage, caplog):
    make = Maker()
    read(make)
    DAMAGES[damage](folder / "table.arrow")
    assert [read(make), read(make)] == [ROWS, ROWS]
    assert make.calls == 2
    [said] = {record.getMessage() for record in caplog.records if record.levelno == logging.WARNING}
    assert said == f"{folder / 'table.arrow'} is not as it was written: it is written again"


def full(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", ["full", "a file", "a folder of that name", "no locks"])
def test_without_a_place_it_is_made_in_memory(folder, monkeypatch, caplog, place):
    if place == "full":
        monkeypatch.setattr(cache._Summed, "write", full)
    elif place == "a file":
        folder.parent.write_text("")
    elif place == "a folder of that name":
        (folder / "table.arrow").mkdir(parents=True)
    else:
        monkeypatch.setattr(cache, "lock", lambda path: (_ for _ in ()).throw(NotImplementedError("no flock here")))
    assert read(Maker()) == ROWS
    assert "set HF_DATASETS_CACHE to a folder that can be written" in caplog.records[-1].getMessage()
    assert not list(folder.glob("*.partial")) if folder.is_dir() else True


def test_a_row_that_is_refused_leaves_nothing(folder):
    def refused():
        yield from Maker()()
        raise InputError("line 101: malformed")

    with pytest.raises(InputError, match="line 101"):
        read(refused)
    assert not [path for path in folder.iterdir() if path.suffix != ".lock"]
    assert read(Maker()) == ROWS


SCRIPT = """
import sys, time
from pathlib import Path
import pyarrow as pa
from swirl_lightning.codecs.cache import kept_table
SCHEMA = pa.schema([("number", pa.int64())])
def make():
    with Path(sys.argv[1]).open("a") as file:
        file.write("made\\n")
    for start in range(0, 100, 10):
        time.sleep(float(sys.argv[2]))
        yield pa.record_batch([list(range(start, start + 10))], schema=SCHEMA)
assert kept_table("table", SCHEMA, make)["number"].to_pylist() == list(range(100))
"""


def begin(path, pause):
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(path), str(pause)])


def wait_for(path):
    until = time.monotonic() + 60
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert path.exists()


def test_of_many_starts_at_once_one_writes(tmp_path):
    processes = [begin(tmp_path / "made", 0.05) for _ in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    assert (tmp_path / "made").read_text() == "made\n"


def test_a_kill_leaves_no_table_and_holds_nobody_up(folder, tmp_path):
    process = begin(tmp_path / "made", 60)
    wait_for(tmp_path / "made")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    assert (folder / "table.partial").exists()
    assert not (folder / "table.arrow").exists()
    assert read(Maker()) == ROWS
    assert not (folder / "table.partial").exists()
