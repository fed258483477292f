"""Collects transitions between pictures from MiniGrid, with the engine itself (arXiv 2306.13831)."""

from __future__ import annotations

import random
from pathlib import Path

from swirl_lightning.environments.collection import describe_run, share_seen, write_collection
from swirl_lightning.environments.minigrid.room import act, choices, make_room, picture
from swirl_lightning.environments.splits import SPLITS, Fractions, Split, assign_splits, draw_kind
from swirl_lightning.pictures import place_picture
from swirl_lightning.types import InputError, Transition, writing

IMAGES = "images"
WEIGHTS = {"turn": 1, "go": 2}
"""How often a kind of action is drawn, beside 4 of those that can be done in few places."""


def collect_minigrid(
    out: Path,
    episodes: int = 600,
    steps: int = 12,
    size: int = 6,
    things: int = 3,
    seed: int = 0,
    fractions: Fractions = (0.2, 0.6, 0.06, 0.14),
) -> None:
    """Walk through MiniGrid rooms at random and write what was seen before and after each action.

    Every episode has a layout of its own: two rooms with a door between them that is open, shut or locked, the key to
    it, and other keys and balls. A state is a picture of the whole world from above, in which a row below shows what is
    carried. The walk draws a kind of action first, then an action of that kind, from those that change something;
    actions are words, such as "pick up the red key". The same arguments and the same version of MiniGrid give the same
    data.

    Args:
        out: the folder to write, with the pictures in its folder ``images``; it is made where it does not exist.
        episodes: number of episodes, each with its own layout.
        steps: steps of an episode.
        size: cells of a side of the world, walls included.
        things: keys and balls of an episode, the key to the door among them.
        seed: what everything random follows from.
        fractions: share of the episodes in labelled, state_only, validation and test.

    Raises:
        InputError: MiniGrid is not installed, or an argument is out of range.
    """
    arguments = dict(locals())  # before any other name is given: they are recorded with the data
    del arguments["out"]
    for name, least in (("episodes", 4), ("steps", 1), ("size", 5), ("things", 1)):
        if (value := arguments[name]) < least:
            raise InputError(f"swirl collect minigrid: {name}: found {value}, expected at least {least}")
    if things > (most := (size - 2) * (size - 3) - 1):
        raise InputError(f"swirl collect minigrid: things: found {things}, expected at most {most} with size {size}")
    split_of = assign_splits([_name(n) for n in range(episodes)], fractions, seed, "episode")
    parts: dict[Split, list[Transition]] = {split: [] for split in SPLITS}
    with writing(out):
        (out / IMAGES).mkdir(parents=True, exist_ok=True)
        for n in range(episodes):
            parts[split_of[_name(n)]] += walk(n, steps, size, things, seed, out / IMAGES)
    record = describe_run("minigrid", out, arguments, ["minigrid", "numpy"]) | {
        "held_out_seen_in_training": share_seen(parts)
    }
    write_collection(out, parts, record)


def walk(episode: int, steps: int, size: int, things: int, seed: int, images: Path) -> list[Transition]:
    """The transitions of one episode. They depend on the arguments alone, not on other episodes."""
    rng = random.Random(f"{seed}/{episode}")
    room = make_room(rng, size, things)
    state, transitions = place_picture(images, picture(room)), []
    for step in range(steps):
        known = choices(room)
        action = rng.choice(draw_kind(known, WEIGHTS, rng))
        act(room, known[action])
        next_state = place_picture(images, picture(room))
        transitions.append(Transition(_name(episode), step, state, next_state, action))
        state = next_state
    return transitions


def _name(episode: int) -> str:
    return f"e{episode:04d}"
