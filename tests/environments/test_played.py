"""A collection that is ended on its way loses no game: every world's collector goes on where it was."""

import errno
import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from swirl_lightning.environments import collection
from swirl_lightning.environments.collection import write_collection
from swirl_lightning.environments.played import PLAYED, Game, Played
from swirl_lightning.environments.splits import SPLITS
from swirl_lightning.types import InputError, Stopped, Transition

ROOT = Path(__file__).parents[2]
FAKE = f"{sys.executable} {Path(__file__).parent / 'tool/fake_server.py'}"
GAMES = 12


def rows(name):
    return [Transition(name, step, f"state {step}\nof {name}", f"state {step + 1}\nof {name}", "go") for step in (0, 1)]


class Engine:
    """Stands for ScienceWorld and for the browser."""

    version = "1"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def close(self):
        pass

    def tasks(self):
        return ["click-link"]


@pytest.fixture(params=["textworld", "physics", "web", "tool"])
def world(request, monkeypatch, tmp_path):
    """A collector of 12 games, what it has played, and the errors that are raised before the game of a number."""
    name = request.param
    if name == "tool":
        pytest.importorskip("mcp.client", reason="the extra tool is not installed")
    if name == "web":
        pytest.importorskip("selenium", reason="the extra web is not installed")
    if name == "textworld":
        pytest.importorskip("textworld", reason="the extra textworld is not installed")
    module = import_module(f"swirl_lightning.environments.{name}.collect")
    played, errors, real = [], {}, module.play

    def begin(game):
        if error := errors.pop(len(played), None):
            raise error
        played.append(game)

    if name == "textworld":

        def play(game, *args):
            begin(game)
            return real(game, *args)

        options = {"games": GAMES, "steps": 30, "fractions": (0.25, 0.25, 0.25, 0.25)}
    elif name == "physics":
        worlds = {split: [(split, n) for n in range(3)] for split in SPLITS}
        monkeypatch.setattr(module, "Engine", Engine)
        monkeypatch.setattr(module, "_check_arguments", lambda *_: None)
        monkeypatch.setattr(module, "_draw_worlds", lambda *_: worlds)

        def play(engine, world, policy, *args):
            begin(world)
            return rows(f"{world[0]}-{world[1]}-{policy}"), world[1]

        options = {"policy": "gold"}
    elif name == "web":
        monkeypatch.setattr(module, "MiniWob", Engine)

        def play(browser, task, name, *args):
            begin(name)
            return iter(rows(name))

        options = {"tasks": ("click-link",), "episodes": GAMES, "fractions": (0.25, 0.25, 0.25, 0.25)}
    else:

        async def play(world, number, name):
            begin(number)
            return await real(world, number, name)

        script = tmp_path / "calls.jsonl"
        calls = [{"tool": "put", "arguments": {"name": "a", "value": n % 3 + 1}} for n in range(GAMES)]
        script.write_text("".join(json.dumps(call) + "\n" for call in calls))
        options = {
            "server": f"{FAKE} {tmp_path / 'calls.log'}", "calls": script, "steps": 1, "allow": ["put"],
            "fractions": (0.25, 0.25, 0.25, 0.25),
        }  # fmt: skip
    monkeypatch.setattr(module, "play", play)
    collector = getattr(module, f"collect_{name}")
    return lambda out, **more: collector(out, **(options | more)), played, errors


def written(out):
    """What stands in a collection."""
    record = json.loads((out / "collection.json").read_text())
    record["command"] = record["command"].replace(f"--out {out.name} ", "")
    return record, {split: gzip.decompress((out / f"{split}.jsonl.gz").read_bytes()) for split in SPLITS}


def test_every_world_goes_on_where_it_was(world, tmp_path, caplog):
    collect, played, errors = world
    collect(tmp_path / "whole")
    first = list(played)
    assert len(first) == GAMES
    played.clear()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "played")
    errors |= {3: full, 5: Stopped(signal.SIGTERM, "before anything"), 8: KeyError("an engine's own")}
    out = tmp_path / "out"
    for kept, kind in ((3, OSError), (5, Stopped), (8, KeyError)):
        with pytest.raises(kind) as error:
            collect(out)
        said = str(error.value) if kind is not KeyError else caplog.messages[-1]
        assert f"{kept} of {GAMES} " in said
        assert f"kept in {out / PLAYED}, and the same command goes on from there" in said
        assert not (out / "collection.json").exists()
    collect(out)
    assert played == first
    assert written(out) == written(tmp_path / "whole")
    assert not (out / PLAYED).exists()


def test_games_of_other_arguments_are_not_taken(world, tmp_path):
    collect, played, errors = world
    errors[2] = Stopped(signal.SIGTERM, "")
    with pytest.raises(Stopped):
        collect(tmp_path / "out", seed=0)
    with pytest.raises(InputError) as error:
        collect(tmp_path / "out", seed=1)
    assert f"{tmp_path / 'out' / PLAYED}: found 2 " in str(error.value)
    assert "with other arguments (seed 0), expected the same" in str(error.value)
    assert len(played) == 2


def game(name):
    return Game(rows(name), {"score": 1})


def keep(out, *names, then=None):
    """Play games of these names; then something happens."""
    made = []
    with Played(out, {"seed": 0}, 3, "games") as played:
        for name in names:
            played.game(name, lambda name=name: made.append(name) or game(name))
        if then:
            raise then
    return made


@pytest.mark.parametrize("cut", [1, 30, "a line"])
def test_half_a_line_costs_its_game_alone(cut, tmp_path):
    with pytest.raises(KeyError):
        keep(tmp_path, "a", "b", then=KeyError())
    path = tmp_path / PLAYED
    content = path.read_bytes()
    last = len(content.splitlines(keepends=True)[-1])
    path.write_bytes(content[: -(last if cut == "a line" else cut)])
    assert keep(tmp_path, "a", "b") == ["b"]
    assert not path.exists()


@pytest.mark.parametrize("content", [b"[]\n", b'{"arguments": {"seed": 0}}\nno json\n{}\n', b"\xff\xfe\n"])
def test_a_file_of_something_else_is_refused(content, tmp_path):
    (tmp_path / PLAYED).write_bytes(content)
    with pytest.raises(InputError, match="found no readable games .* remove it to begin anew"):
        keep(tmp_path, "a")
    assert (tmp_path / PLAYED).read_bytes() == content


def test_where_other_arguments_are_asked_for_nothing_is_kept(tmp_path):
    with pytest.raises(InputError, match="^no transition for test; more games$"):
        keep(tmp_path, "a", "b", "c", then=InputError("no transition for test; more games"))
    assert not (tmp_path / PLAYED).exists()


def collect_textworld(out, *options, limit=None):
    """The command in a process of its own, where no file may grow beyond a limit."""
    pytest.importorskip("textworld", reason="the extra textworld is not installed")
    args = ["collect", "textworld", f"--out={out}", "--games=12", "--steps=60", "--fractions=[0.25,0.25,0.25,0.25]"]
    return subprocess.Popen(
        [sys.executable, "-m", "swirl_lightning", *args, *options], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=limit and (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))),
    )  # fmt: skip


def test_a_full_disk_and_a_signal_from_the_shell(tmp_path):
    """What is told, and that the same command then makes the same collection."""
    collect_textworld(tmp_path / "whole").communicate(timeout=120)
    out = tmp_path / "out"
    full = collect_textworld(out, limit=12_000)
    _, said = full.communicate(timeout=120)
    assert full.returncode == 2
    kept = len((out / PLAYED).read_bytes().splitlines()) - 1  # the head; no line is written in part
    assert kept > 0
    assert f"error: {out / PLAYED}: File too large; {kept} of 12 games are kept in" in said.splitlines()[-1]

    told = collect_textworld(out)
    while len((out / PLAYED).read_bytes().splitlines()) < kept + 2 and told.poll() is None:
        time.sleep(0.01)
    told.send_signal(signal.SIGTERM)
    _, said = told.communicate(timeout=120)
    assert told.returncode == 143
    assert f"going on after {kept} of 12 games" in said
    assert "stopped by SIGTERM on the way; " in said.splitlines()[-1]
    assert f"to continue: swirl collect textworld --out={out}" in said.splitlines()[-1]

    last = collect_textworld(out)
    last.communicate(timeout=120)
    assert last.returncode == 0
    assert written(out) == written(tmp_path / "whole")


def test_a_collection_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    """Its files are moved to their places together, once all are written."""
    parts = {split: rows(split) for split in SPLITS}
    write_collection(tmp_path, parts, {"command": "--out x"})
    before = written(tmp_path)
    real = collection.write_split

    def write_split(folder, name, *args):
        if name == SPLITS[-1]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(folder, name, *args)

    monkeypatch.setattr(collection, "write_split", write_split)
    with pytest.raises(OSError, match="No space left"):
        write_collection(tmp_path, {split: rows(f"new {split}") for split in SPLITS}, {"command": "--out x"})
    assert written(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == len(SPLITS) + 1
