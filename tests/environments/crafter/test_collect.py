"""The collector against Crafter itself: what it writes is what the engine shows, and the same seed gives the same."""

import json
import random

import numpy as np
import pytest

pytest.importorskip("crafter")

from swirl_lightning.environments.crafter import CrafterDataModule, collect
from swirl_lightning.environments.crafter.collect import begin, collect_crafter, draw, play
from swirl_lightning.environments.crafter.life import way_to
from swirl_lightning.environments.crafter.world import DIRECTIONS, act, begin_world, choices, make_world, picture
from swirl_lightning.environments.played import PLAYED
from swirl_lightning.environments.splits import SPLITS
from swirl_lightning.pictures import pixels
from swirl_lightning.types import InputError

AREA = 14  # worlds are made in Python, field by field
OPTIONS = {"episodes": 5, "steps": 6, "life": 30, "area": AREA}


@pytest.fixture(scope="module")
def world():
    return make_world(AREA)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("crafter") / "data"
    collect_crafter(out, **OPTIONS)
    return out


def files(folder):
    paths = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in paths.items() if name.name != "collection.json"}


def test_a_collection_that_was_stopped_goes_on_to_the_same_files(folder, tmp_path, monkeypatch):
    """Also a proof that the same arguments give the same files: memory has other addresses the second time."""
    out, left = tmp_path / "data", [2]

    def stop_at_the_third(*args):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return play(*args)

    monkeypatch.setattr(collect, "play", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        collect_crafter(out, **OPTIONS)
    assert (out / PLAYED).read_bytes().count(b"\n") == 3
    left[0] = OPTIONS["episodes"] - 2  # and not one more
    collect_crafter(out, **OPTIONS)
    assert files(out) == files(folder)


def test_what_is_read_is_a_data_set(folder):
    data = CrafterDataModule(folder)
    data.setup()
    assert all(t.action is None for t in data.state_only)
    assert data.labelled[0].action is not None
    assert sum(len({t.episode for t in getattr(data, split)}) for split in SPLITS) == len(data.splits) == 5
    assert all(t.environment == "crafter" for t in data.test)
    assert all(pixels(t.state).shape == (63, 63, 3) for t in data.training())
    assert json.loads((folder / "collection.json").read_text())["held_out_seen_in_training"] == 0


def test_every_action_does_what_it_says(world):
    """Followed in the engine: each shows where it should, and the kinds of action that a life has come up."""
    kinds = set()
    for seed in range(8):
        rng = random.Random(seed)
        begin(world, rng, 40)
        for _ in range(8):
            known = choices(world)
            action = draw(world, known, rng)
            before, place = dict(world._player.inventory), tuple(world._player.pos)
            pictured = picture(world)
            act(world, known[action])
            word, *rest = action.split()
            gained = {name for name, number in world._player.inventory.items() if number > before[name]}
            kinds.add(word)
            if word in ("walk", "face"):
                moved = tuple(int(x) for x in np.subtract(world._player.pos, place))
                assert moved == (DIRECTIONS[rest[0]] if word == "walk" else (0, 0))
                assert tuple(world._player.facing) == DIRECTIONS[rest[0]]
            if word in ("collect", "make"):
                assert "_".join(rest).removeprefix("a_") in gained
            if word == "drink":
                assert "drink" in gained
            if word in ("place", "plant"):
                assert world._player.inventory != before
            assert word == "hit" or not np.array_equal(picture(world), pictured), action
    assert {"walk", "face", "collect", "hit", "place"} <= kinds


def test_an_episode_is_the_same_alone_and_after_others(folder, world, tmp_path):
    data = CrafterDataModule(folder)
    data.setup()
    begin_world(world, 7)
    name = data.test[0].episode
    alone = play(world, name, OPTIONS["steps"], OPTIONS["life"], 0, tmp_path)
    expected = [(t.state, t.next_state, t.action) for t in data.test if t.episode == name]
    assert [(t.state, t.next_state, t.action) for t in alone] == expected


def test_which_animal_leaves_does_not_follow_from_memory(world):
    """Crafter itself takes it from a set, whose order is that of addresses."""
    left = []
    for turned in (False, True):
        begin_world(world, 3)
        things = [thing for thing in world._world.objects if type(thing).__name__ == "Cow"]
        assert len(things) > 1
        world._player.pos = np.array([-99, -99])  # far from all
        options = ("grass", 5, 5, 1.0, 1.0, None, lambda number, space: (0, 0))
        world._balance_object((0, AREA, 0, AREA), things[::-1] if turned else things, type(things[0]), *options)
        left.append([tuple(thing.pos) for thing in things if thing.removed])
    assert left[0] == left[1]
    assert len(left[0]) == 1


def test_it_is_always_noon_and_no_picture_has_noise(world):
    begin_world(world, 1)
    world._step = 250  # night, of which Crafter darkens its pictures
    act(world, "noop")
    assert np.array_equal(picture(world), picture(world))
    assert len({tile.tobytes() for tile in picture(world).reshape(9, 7, 9, 7, 3).swapaxes(1, 2).reshape(81, -1)}) < 20


def test_a_way_leads_to_what_is_looked_for_and_is_the_shortest(world):
    """Against the distances that spread from the player field by field."""
    ways = 0
    for seed in range(4):
        begin_world(world, seed)
        way, here, near = way_to(world, ["tree"]), tuple(world._player.pos), {tuple(world._player.pos)}
        for _ in range(len(way) - 1):
            fields = {tuple(np.add(place, step)) for place in near for step in DIRECTIONS.values()}
            assert "tree" not in {world._world[place][0] for place in fields}
            near |= {place for place in fields if world._player.is_free(place)}
        for direction in way:
            here = tuple(np.add(here, DIRECTIONS[direction]))
            assert here in near or direction == way[-1]
        assert not way or world._world[here][0] == "tree"
        ways += bool(way)
    assert ways
    assert way_to(world, ["nothing"]) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"episodes": 3}, "episodes: found 3, expected at least 4"),
        ({"steps": 0}, "steps: found 0, expected at least 1"),
        ({"life": -1}, "life: found -1, expected at least 0"),
        ({"area": 8}, "area: found 8, expected at least 12"),
    ],
)
def test_arguments_out_of_range(tmp_path, options, told):
    with pytest.raises(InputError, match=f"swirl collect crafter: {told}"):
        collect_crafter(tmp_path, **OPTIONS | options)


def test_a_world_with_nothing_to_do_is_told(tmp_path, world, monkeypatch):
    monkeypatch.setattr(collect, "TRIES", 1)
    monkeypatch.setattr(collect, "has_to_do", lambda world: False)
    monkeypatch.setattr(collect, "live", lambda *args: None)
    with pytest.raises(InputError, match="found nothing to do in 1 worlds"):
        begin(world, random.Random(0), 5)


def test_a_missing_collection_is_told(tmp_path):
    with pytest.raises(InputError, match=r"run 'swirl collect crafter --out .*none'"):
        CrafterDataModule(tmp_path / "none").setup()
