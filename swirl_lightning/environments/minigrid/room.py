"""Two rooms of MiniGrid with a door between them, what can be done there in words, and how they look."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np

from swirl_lightning.types import InputError

TILE = 8
"""Pixels of a cell's side."""
COLORS = ("blue", "green", "red")
TURNS = {"turn left": "left", "turn right": "right"}


def make_room(rng: random.Random, size: int, things: int) -> Any:
    """A world of ``size`` x ``size`` cells in which the door, its key, other things and the agent are placed by chance.

    Raises:
        InputError: MiniGrid is not installed.
    """
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pictures are drawn without a screen
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        from minigrid.core.grid import Grid
        from minigrid.core.mission import MissionSpace
        from minigrid.core.world_object import Ball, Door, Key
        from minigrid.minigrid_env import MiniGridEnv
    except ImportError as error:
        raise InputError(
            "swirl collect minigrid: needs MiniGrid, found none: pip install 'swirl-lightning[vision]'"
        ) from error

    class Rooms(MiniGridEnv):
        def _gen_grid(self, width: int, height: int) -> None:
            self.grid = Grid(width, height)
            self.grid.wall_rect(0, 0, width, height)
            wall, gap = rng.randrange(2, width - 2), rng.randrange(1, height - 1)
            self.grid.vert_wall(wall, 0)
            color = rng.choice(COLORS)
            locked, opened = rng.choice([(False, True), (False, False), (True, False)])
            self.grid.set(wall, gap, Door(color, is_locked=locked, is_open=opened))
            free = [(x, y) for x in range(1, width - 1) for y in range(1, height - 1) if x != wall]
            rng.shuffle(free)
            kinds = [Key(color), *(rng.choice((Ball, Key))(rng.choice(COLORS)) for _ in range(things - 1))]
            for thing in kinds:
                self.grid.set(*free.pop(), thing)
            self.agent_pos, self.agent_dir = free.pop(), rng.randrange(4)
            self.mission = "walk about"

    room = Rooms(MissionSpace(lambda: "walk about"), grid_size=size, max_steps=10**9)
    room.reset()
    return room


def choices(room: Any) -> dict[str, str]:
    """Every action that changes something, in words, and MiniGrid's name of it."""
    actions = dict(TURNS)
    before = room.grid.get(*room.front_pos)
    if before is None or before.can_overlap():
        actions["go forward"] = "forward"
    if before is None and room.carrying:
        actions[f"drop the {_words(room.carrying)}"] = "drop"
    if before is not None and before.can_pickup() and not room.carrying:
        actions[f"pick up the {_words(before)}"] = "pickup"
    if before is not None and before.type == "door":
        key = room.carrying
        if before.is_locked and key is not None and key.type == "key" and key.color == before.color:
            actions[f"unlock the {_words(before)}"] = "toggle"
        elif not before.is_locked:
            actions[f"{'close' if before.is_open else 'open'} the {_words(before)}"] = "toggle"
    return actions


def act(room: Any, name: str) -> None:
    """Do what MiniGrid calls so."""
    room.step(room.actions[name])


def picture(room: Any) -> np.ndarray:
    """The whole world from above, and below it a row of cells whose first one shows what is carried. [H, W, 3]"""
    world_HW3 = room.grid.render(TILE, room.agent_pos, room.agent_dir)
    below_SW3 = np.zeros_like(world_HW3[:TILE])
    if room.carrying:
        below_SW3[:, :TILE] = type(room.grid).render_tile(room.carrying, tile_size=TILE)
    return np.concatenate([world_HW3, below_SW3]).astype(np.uint8)


def _words(thing: Any) -> str:
    return f"{thing.color} {thing.type}"
