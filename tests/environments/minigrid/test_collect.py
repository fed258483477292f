"""The collector against MiniGrid itself: what it writes is what the engine shows, and the same seed gives the same."""

import json
import random

import numpy as np
import pytest

pytest.importorskip("minigrid")

from swirl_lightning.environments.minigrid import MiniGridDataModule
from swirl_lightning.environments.minigrid.collect import collect_minigrid, walk
from swirl_lightning.environments.minigrid.room import TILE, act, choices, make_room, picture
from swirl_lightning.pictures import pixels
from swirl_lightning.types import InputError

OPTIONS = {"episodes": 12, "steps": 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("minigrid") / "data"
    collect_minigrid(out, **OPTIONS)
    return out


def test_the_same_arguments_give_the_same_files(folder, tmp_path):
    collect_minigrid(tmp_path / "data", **OPTIONS)
    ours, theirs = (sorted(path.relative_to(f) for path in f.rglob("*")) for f in (folder, tmp_path / "data"))
    assert ours == theirs
    for name in ours:
        if (folder / name).is_file() and name.name != "collection.json":
            assert (folder / name).read_bytes() == (tmp_path / "data" / name).read_bytes()
    collect_minigrid(tmp_path / "other", **OPTIONS, seed=1)
    assert sorted((tmp_path / "other/images").iterdir()) != sorted((folder / "images").iterdir())


def test_what_is_read_is_a_data_set(folder):
    data = MiniGridDataModule(folder)
    data.setup()
    assert all(t.action is None for t in data.state_only)
    episodes = [{t.episode for t in split} for split in (data.labelled, data.state_only, data.validation, data.test)]
    assert sum(map(len, episodes)) == len(set.union(*episodes)) == 12
    assert all(t.changes for t in data.training())
    assert all(t.environment == "minigrid" for t in data.test)
    assert json.loads((folder / "collection.json").read_text())["held_out_seen_in_training"] == 0


def test_every_action_does_what_it_says(tmp_path):
    """Followed in the engine: each changes the picture, and each kind of action comes up."""
    kinds = set()
    for n in range(60):
        (images := tmp_path / "images").mkdir(exist_ok=True)
        rng = random.Random(f"0/{n}")
        room = make_room(rng, 6, 3)
        for t in walk(n, 12, 6, 3, 0, images):
            assert np.array_equal(pixels(t.state), picture(room))
            act(room, choices(room)[t.action])
            assert np.array_equal(pixels(t.next_state), picture(room))
            assert t.state != t.next_state
            kinds.add(" ".join(t.action.split()[:2]))
    assert {"turn left", "turn right", "go forward", "pick up", "drop the", "open the", "close the"} <= kinds


def test_what_is_carried_is_seen():
    for seed in range(20):
        rng = random.Random(seed)
        room, found = make_room(rng, 6, 3), []
        for _ in range(100):
            known = choices(room)
            if found := [action for action in known if action.startswith("pick up")]:
                break
            act(room, known[rng.choice(sorted(known))])
        if found:
            break
    thing = room.grid.get(*room.front_pos)
    before = picture(room)
    assert not before[-TILE:].any()
    act(room, known[found[0]])
    after = picture(room)
    assert np.array_equal(after[-TILE:, :TILE], type(room.grid).render_tile(thing, tile_size=TILE).astype(np.uint8))
    assert not after[-TILE:, TILE:].any()
    assert found[0] == f"pick up the {thing.color} {thing.type}"


def test_the_agent_stays_inside():
    rng = random.Random(5)
    for _ in range(20):
        room = make_room(rng, 6, 3)
        for _ in range(100):
            known = choices(room)
            act(room, known[rng.choice(sorted(known))])
            assert all(0 < place < 5 for place in room.agent_pos)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"episodes": 3}, "episodes: found 3, expected at least 4"),
        ({"steps": 0}, "steps: found 0, expected at least 1"),
        ({"size": 4}, "size: found 4, expected at least 5"),
        ({"things": 12}, "things: found 12, expected at most 11 with size 6"),
    ],
)
def test_arguments_out_of_range(tmp_path, options, told):
    with pytest.raises(InputError, match=f"swirl collect minigrid: {told}"):
        collect_minigrid(tmp_path, **OPTIONS | options)


def test_a_missing_collection_is_told(tmp_path):
    with pytest.raises(InputError, match=r"run 'swirl collect minigrid --out .*none'"):
        MiniGridDataModule(tmp_path / "none").setup()
