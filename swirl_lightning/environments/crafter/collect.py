"""Collects transitions between pictures from Crafter, with the engine itself (arXiv 2109.06780)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from swirl_lightning.environments.collection import describe_run, share_seen, write_collection
from swirl_lightning.environments.crafter.life import has_to_do, live, way_to
from swirl_lightning.environments.crafter.world import act, begin_world, choices, is_alive, make_world, picture, wanted
from swirl_lightning.environments.played import Game, Played
from swirl_lightning.environments.splits import SPLITS, Fractions, Split, assign_splits, draw_kind, kind
from swirl_lightning.pictures import PICTURE, name_picture, place_picture
from swirl_lightning.types import InputError, Transition, writing

IMAGES = "images"
GOING = ("walk", "face")
WEIGHTS = {"walk": 1, "face": 1, "plant": 1}
"""How often a kind of action is drawn, beside 4 of those that can be done in few places."""
TRIES = 20
"""Lives that an episode may begin in; a player may die, or stand where there is nothing to do."""


def collect_crafter(
    out: Path,
    episodes: int = 600,
    steps: int = 12,
    life: int = 100,
    area: int = 24,
    seed: int = 0,
    fractions: Fractions = (0.2, 0.6, 0.06, 0.14),
) -> None:
    """Act in Crafter's worlds at random and write what was seen before and after each action.

    Every episode has a world of its own. In it a player first runs errands, as long as chance says: goes to trees,
    water, stones and animals, takes of them and makes tools. The episode begins where there is something to do. A state
    is Crafter's own picture: the fields around the player and what the player has, at noon. Each step draws a kind of
    action first, then an action of that kind, from those that change something that is seen; actions are words, such as
    "collect wood". The same arguments and the same version of Crafter give the same data. A collection that was stopped
    goes on where it was when it is started again with the same arguments.

    Args:
        out: the folder to write, with the pictures in its folder ``images``; it is made where it does not exist.
        episodes: number of episodes, each with its own world.
        steps: most steps of an episode; it ends before with the player's life.
        life: most steps before an episode, errands that are begun aside.
        area: fields of a side of the world.
        seed: what everything random follows from.
        fractions: share of the episodes in labelled, state_only, validation and test.

    Raises:
        InputError: Crafter is not installed, or an argument is out of range.
    """
    arguments = dict(locals())  # before any other name is given: they are recorded with the data
    del arguments["out"]
    for name, least in (("episodes", 4), ("steps", 1), ("life", 0), ("area", 12)):
        if (value := arguments[name]) < least:
            raise InputError(f"swirl collect crafter: {name}: found {value}, expected at least {least}")
    names = [f"e{n:04d}" for n in range(episodes)]
    split_of = assign_splits(names, fractions, seed, "episode")
    parts: dict[Split, list[Transition]] = {split: [] for split in SPLITS}
    world, images = make_world(area), out / IMAGES
    with Played(out, arguments, episodes, "episodes") as played:
        with writing(images):
            images.mkdir(parents=True, exist_ok=True)
        for name in names:
            made = played.game(name, partial(_game, world, name, steps, life, seed, images))
            _find_pictures(made.transitions, images)
            parts[split_of[name]] += made.transitions
        record = describe_run("crafter", out, arguments, ["crafter", "numpy", "opensimplex"])
        write_collection(out, parts, record | {"held_out_seen_in_training": share_seen(parts)})


def _game(*arguments: Any) -> Game:
    return Game(play(*arguments), {})


def play(world: Any, name: str, steps: int, life: int, seed: int, images: Path) -> list[Transition]:
    """The transitions of one episode. They depend on the arguments alone, not on other episodes."""
    rng = random.Random(f"{seed}/{name}")
    begin(world, rng, life)
    state, transitions = place_picture(images, picture(world)), []
    for step in range(steps):
        known = choices(world)
        if not (is_alive(world) and known):
            break
        action = draw(world, known, rng)
        act(world, known[action])
        next_state = place_picture(images, picture(world))
        transitions.append(Transition(name, step, state, next_state, action))
        state = next_state
    return transitions


def draw(world: Any, known: Mapping[str, str], rng: random.Random) -> str:
    """One of the known actions: first its kind, then an action of it. Who goes about goes to something near."""
    drawn = draw_kind(known, WEIGHTS, rng)
    if kind(drawn[0]) in GOING:
        way = way_to(world, wanted(world))[:1]
        if there := [f"{word} {direction}" for direction in way for word in GOING if f"{word} {direction}" in known]:
            return there[0]
    return rng.choice(drawn)


def begin(world: Any, rng: random.Random, life: int) -> None:
    """Make a world in which the player has lived for some steps and has something to do.

    Raises:
        InputError: none was found; worlds are too small or life is too long.
    """
    for _ in range(TRIES):
        begin_world(world, rng.randrange(2**31))
        live(world, rng, rng.randint(0, life))
        if is_alive(world) and has_to_do(world):
            return
    raise InputError(
        f"swirl collect crafter: found nothing to do in {TRIES} worlds after up to {life} steps, expected something; "
        "take a larger --area or a shorter --life"
    )


def _find_pictures(transitions: list[Transition], images: Path) -> None:
    """Know where the pictures lie of an episode that another process played."""
    for state in dict.fromkeys(state for t in transitions for state in (t.state, t.next_state)):
        name_picture(images / f"{state.removeprefix(PICTURE)}.png")
