"""``swirl collect``: one world's collector with its arguments as options."""

import subprocess
import sys
from pathlib import Path

import pytest

from swirl_lightning.commands.collect import WORLDS
from swirl_lightning.environments.textworld import collect as textworld

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
