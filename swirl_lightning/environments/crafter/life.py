"""What the player does before the first picture of an episode: one errand after another."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection
from typing import Any

from swirl_lightning.environments.crafter.world import DIRECTIONS, act, choices, is_alive, wanted
from swirl_lightning.environments.splits import kind

Place = tuple[int, int]
TIMES = 4
"""How often it is taken, hit or drunk from, at most."""
LONGEST = 200
"""Further steps that something to do is looked for."""


def live(world: Any, rng: random.Random, steps: int) -> None:
    """Let the player run errands: walk to something near, take of it, make what can be made.

    That goes on until so many steps are over and there is something to do at hand.

    Args:
        world: of ``begin_world``.
        rng: draws where to go and how often to take of it.
        steps: of the world.
    """
    end = world._step + steps
    while is_alive(world) and world._step < end + LONGEST and not (world._step >= end and has_to_do(world)):
        for direction in way_to(world, [rng.choice(wanted(world))]) or [rng.choice(list(DIRECTIONS))]:
            act(world, f"move_{direction}")
        for _ in range(rng.randint(1, TIMES)):
            act(world, "do")
        known = choices(world)
        if made := sorted(words for words in known if words.startswith("make ")):
            act(world, known[rng.choice(made)])
        elif "place a table" in known and not world._world.nearby(world._player.pos, 4)[0].count("table"):
            act(world, "place_table")


def has_to_do(world: Any) -> bool:
    """Whether the player can do more than go about."""
    return bool({kind(action) for action in choices(world)} - {"walk", "face"})


def way_to(world: Any, targets: Collection[str]) -> list[str]:
    """The directions of the shortest way to one of some materials and animals, the last of which faces it.

    Empty where no way leads to one.
    """
    from crafter import constants

    x, y = world._player.pos
    start = int(x), int(y)
    came: dict[Place, tuple[Place, str]] = {}
    queue = deque([start])
    while queue:
        here = queue.popleft()
        for direction, step in DIRECTIONS.items():
            there = (here[0] + step[0], here[1] + step[1])
            if there in came or there == start:
                continue
            came[there] = here, direction
            material, thing = world._world[there]
            if (material if thing is None else type(thing).__name__) in targets:
                return _back(came, start, there)
            if thing is None and material in constants.walkable:
                queue.append(there)
    return []


def _back(came: dict[Place, tuple[Place, str]], start: Place, there: Place) -> list[str]:
    directions = []
    while there != start:
        there, direction = came[there]
        directions.append(direction)
    return directions[::-1]
