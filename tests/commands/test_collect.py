"""``swirl collect``: one world's collector with its arguments as options."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from swirl_lightning.commands import main
from swirl_lightning.commands.collect import WORLDS
from swirl_lightning.environments.collected import is_collected
from swirl_lightning.environments.textworld import collect as textworld
from swirl_lightning.types import InputError, Transition

ROOT = Path(__file__).parents[2]
PLACE = "swirl_lightning.environments"


def test_every_world_with_a_collector_is_listed(swirl):
    found = {path.parent.name for path in ROOT.glob("swirl_lightning/environments/*/collect.py")}
    assert set(WORLDS) == found
    code, out, _ = swirl("collect", "--help")
    assert code == 0
    listed = dict(line.split(maxsplit=1) for line in out.splitlines() if line.startswith("  "))
    assert listed == WORLDS


@pytest.mark.parametrize("world", WORLDS)
def test_every_option_of_a_world_is_explained(swirl, world):
    code, out, _ = swirl("collect", world, "--help")
    assert code == 0
    assert out.startswith(f"usage: swirl collect {world} ")
    options = out[out.index("\noptions:") :].split("\n  -")[1:]
    assert len(options) > 5
    for option in options:
        _, *explanation = option.split("  ")
        assert "".join(explanation).strip(), option


@pytest.mark.parametrize("world", WORLDS)
def test_only_the_chosen_world_is_imported(world):
    code = (
        "import sys\n"
        "from swirl_lightning.commands import main\n"
        "try:\n"
        f"    main(['collect', {world!r}, '--help'])\n"
        "except SystemExit:\n"
        f"    print(*[w for w in {list(WORLDS)!r} if '{PLACE}.' + w in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1] == world


@pytest.fixture
def called(monkeypatch):
    """What the collector of TextWorld is called with; nothing is played."""
    calls = []

    def collect_textworld(out: Path, games: int = 3, names: tuple[str, ...] = ("a",), dry: bool = False) -> None:
        """Stand in for the collector.

        Args:
            out: the folder.
            games: how many.
            names: of rooms.
            dry: play nothing.
        """
        calls.append((out, games, names, dry))

    monkeypatch.setattr(textworld, "collect_textworld", collect_textworld)
    return calls


def test_options_are_the_collectors_arguments(swirl, called):
    assert swirl("collect", "textworld", "--out=x", '--names=["b", "c"]', "--dry", "true")[0] == 0
    assert called == [(Path("x"), 3, ("b", "c"), True)]


def test_what_cannot_be_named_has_a_place(swirl, refused, monkeypatch):
    calls = []

    def collect_textworld(folder: Path, /, out: Path) -> None:
        """Stand in for a collector.

        Args:
            folder: what is read.
            out: what is written.
        """
        calls.append((folder, out))

    monkeypatch.setattr(textworld, "collect_textworld", collect_textworld)
    assert swirl("collect", "textworld", "videos", "--out=x")[0] == 0
    assert calls == [(Path("videos"), Path("x"))]
    code, out, _ = swirl("collect", "textworld", "--help")
    assert code == 0
    assert "FOLDER" in out
    assert "what is read." in out
    assert "missing FOLDER" in refused("collect", "textworld", "--out=x")
    assert "no such option: --folder" in refused("collect", "textworld", "v", "--folder=videos", "--out=x")


def test_options_can_stand_in_a_file(swirl, called, tmp_path):
    config = tmp_path / "games.yaml"
    config.write_text("out: x\ngames: 7\nnames: [b]\n")
    assert swirl("collect", "textworld", f"--config={config}", "--games=8")[0] == 0
    assert called == [(Path("x"), 8, ("b",), False)]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "swirl collect: expected a world (crafter, minigrid, physics, textworld, tool, video, web)"),
        (["moon"], "swirl collect: no such world: moon (crafter, "),
        (["fysics"], "did you mean physics?"),
        (["textworld"], "swirl collect textworld: missing --out"),
        (["textworld", "--out=x", "--game=3"], "no such option: --game; did you mean --games?"),
        (["textworld", "--out=x", "--games=many"], "swirl collect textworld: --games: found many, expected int"),
        (["textworld", "--out=x", "--dry=maybe"], "swirl collect textworld: --dry: found maybe, expected bool"),
        (["textworld", "--out=x", "more"], "swirl collect textworld: unexpected argument more"),
        (["textworld", "--config=nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_wrong_input(refused, called, args, said):
    assert said in refused("collect", *args)
    assert not called


def test_a_missing_extra_is_named(refused, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "textworld"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "textworld", None)
    said = refused("collect", "textworld", f"--out={tmp_path / 'out'}")
    assert "pip install 'swirl-lightning[textworld]'" in said
    assert not (tmp_path / "out").exists()


GAMES = ["--fractions=[0.25,0.25,0.25,0.25]", "--steps=2"]


@pytest.fixture
def collected(monkeypatch, tmp_path):
    """A finished collection of four games, without TextWorld; and how many have been played."""
    played = []

    def play(game, steps, seed, world):
        played.append(game)
        return [Transition(f"g{game:03d}", n, f"a {game} {seed}", f"b {n}", "go") for n in range(steps)]

    monkeypatch.setattr(textworld, "play", play)
    monkeypatch.setattr("swirl_lightning.environments.collection.version", lambda name: "1")
    out = tmp_path / "out"
    assert main(["collect", "textworld", f"--out={out}", "--games=4", *GAMES]) == 0
    return out, played


def content(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_a_finished_collection_of_the_same_arguments_is_kept(swirl, collected):
    out, played = collected
    before = content(out)
    code, said, _ = swirl("collect", "textworld", f"--out={out}", "--games=4", *GAMES)
    assert code == 0
    assert said.startswith(f"{out}: was collected before, with the same arguments, and is kept; ")
    assert played == [0, 1, 2, 3]
    assert content(out) == before


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--games=5"], "a collection with other arguments (games 4)"),
        (["--games=4", "--seed=1", "--nb_objects=9"], "a collection with other arguments (seed 0, nb_objects 8)"),
        (["--games=4", "test.jsonl.gz is gone"], "a collection that has lost test"),
        (["--games=4", "collection.json is gone"], "without a collection.json"),
        (["--games=4", "collection.json is spoilt"], "a collection.json that cannot be read"),
        (["--games=4", "of another world"], "what 'swirl collect web' wrote"),
    ],
)
def test_another_collection_is_replaced_only_when_that_is_said(swirl, refused, collected, args, said):
    out, played = collected
    *args, happened = args if " " in args[-1] else [*args, ""]
    if "is gone" in happened:
        (out / happened.split()[0]).unlink()
    elif happened:
        record = (out / "collection.json").read_text()
        (out / "collection.json").write_text("{" if "spoilt" in happened else record.replace(" textworld ", " web "))
    before = content(out)
    command = ["collect", "textworld", f"--out={out}", *args, *GAMES]
    line = refused(*command)
    assert said in line
    assert line.endswith("choose another, or replace what is there with --overwrite true")
    assert content(out) == before
    assert len(played) == 4
    assert swirl(*command, "--overwrite", "true")[0] == 0
    assert len(played) > 4
    assert swirl(*command)[1].startswith(f"{out}: was collected before")


def test_secrets_and_files_are_compared_by_what_the_record_has_of_them(tmp_path):
    record = {
        "command": "swirl collect tool --out x",
        "files": [],
        "arguments": {"server": "API_KEY=... run", "calls": "c"},
    }
    (tmp_path / "collection.json").write_text(json.dumps(record))
    same = {"server": "API_KEY=12 run", "calls": Path("elsewhere/c"), "tools": None}
    assert is_collected(tmp_path, "tool", same)
    for changed in ({"server": "API_KEY=12 walk"}, {"calls": Path("elsewhere/d")}, {"tools": ["a"]}):
        with pytest.raises(InputError, match=f"other arguments \\({next(iter(changed))} "):
            is_collected(tmp_path, "tool", same | changed)
