"""A world of Crafter, what can be done there in words, and how it looks."""

from __future__ import annotations

from typing import Any

import numpy as np

from swirl_lightning.types import InputError

TILE, VIEW = 7, 9
"""Pixels of a tile's side, and tiles of a picture's."""
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
HIT = ("Cow", "Zombie", "Skeleton")
PLACED = {"stone": "place a stone", "table": "place a table", "furnace": "place a furnace", "plant": "plant a sapling"}


def make_world(area: int) -> Any:
    """Crafter for worlds of ``area`` x ``area`` fields at noon; ``begin_world`` makes the first one.

    It is always noon: by night Crafter draws noise over its pictures, which nobody could foretell.

    Raises:
        InputError: Crafter is not installed.
    """
    try:
        import crafter
    except ImportError as error:
        raise InputError(
            "swirl collect crafter: needs Crafter, found none: pip install 'swirl-lightning[vision]'"
        ) from error

    class Noon(crafter.Env):
        def _update_time(self) -> None:
            self._world.daylight = 1.0

        def _balance_object(self, chunk: Any, things: Any, *others: Any) -> None:
            # which animal leaves follows from the order of a set, and that from addresses in memory
            super()._balance_object(chunk, sorted(things, key=lambda thing: tuple(thing.pos)), *others)

        def _obs(self) -> None:
            """Draw nothing that nobody looks at."""

    return Noon(area=(area, area), seed=0)


def begin_world(world: Any, seed: int) -> None:
    """Make another world in place of the last one; the player stands in its middle."""
    world._seed, world._episode = seed, 0
    world.reset()


def choices(world: Any) -> dict[str, str]:
    """Every action that does something, in words, and Crafter's name of it.

    All of them change the picture, but that an animal shows a hit only by leaving after some. Left out are those that
    do something by chance, for long or for good: taking a sapling out of grass, sleep, and steps into lava.
    """
    from crafter import constants

    player = world._player
    actions: dict[str, str] = {}
    for direction, (dx, dy) in DIRECTIONS.items():
        place = (player.pos[0] + dx, player.pos[1] + dy)
        if player.is_free(place, constants.walkable):
            actions[f"walk {direction}"] = f"move_{direction}"
        elif tuple(player.facing) != (dx, dy) and not player.is_free(place, ["lava"]):
            actions[f"face {direction}"] = f"move_{direction}"
    material, thing = before(world)
    has = player.inventory
    if (name := type(thing).__name__) in HIT:
        actions[f"hit the {name.lower()}"] = "do"
    elif thing is None and (words := _taken(has, material)):
        actions[words] = "do"
    for name, words in PLACED.items():
        info = constants.place[name]
        if thing is None and material in info["where"] and _has(has, info["uses"]):
            actions[words] = f"place_{name}"
    near, _ = world._world.nearby(player.pos, 1)
    for name, info in constants.make.items():
        if set(info["nearby"]) <= set(near) and _has(has, info["uses"]) and _below_most(has, name):
            actions[f"make a {name.replace('_', ' ')}"] = f"make_{name}"
    return actions


def wanted(world: Any) -> list[str]:
    """The materials that the player could take of, and the animals that are worth a walk."""
    from crafter import constants

    return [*(name for name in sorted(constants.collect) if _taken(world._player.inventory, name)), "Cow"]


def before(world: Any) -> tuple[str | None, Any]:
    """The material of the field that the player faces, and the animal or plant on it, if there is one."""
    player = world._player
    place = (player.pos[0] + player.facing[0], player.pos[1] + player.facing[1])
    found: tuple[str | None, Any] = world._world[place]
    return found


def act(world: Any, name: str) -> None:
    """Do what Crafter calls so."""
    world.step(world.action_names.index(name))


def picture(world: Any) -> np.ndarray:
    """The 9 x 7 fields around the player, and in two rows below what the player has. [63, 63, 3], uint8

    Of Crafter's 64 x 64 pixels the last row and the last column, which it leaves black, are left out, so that cells of
    7 x 7 pixels are its tiles.
    """
    side = TILE * VIEW
    seen: np.ndarray = world.render()[:side, :side]
    return seen


def is_alive(world: Any) -> bool:
    """Whether the player is."""
    return bool(world._player.health > 0)


def _taken(inventory: dict[str, int], material: str | None) -> str | None:
    """What is done to a material that gives something each time, in words; None where the player gets nothing."""
    from crafter import constants

    info = constants.collect.get(material)
    if info is None or "probability" in info or not _has(inventory, info["require"]):
        return None
    (name,) = info["receive"]
    if not _below_most(inventory, name):
        return None
    return "drink water" if name == "drink" else f"collect {name}"


def _has(inventory: dict[str, int], needed: dict[str, int]) -> bool:
    return all(inventory[name] >= number for name, number in needed.items())


def _below_most(inventory: dict[str, int], name: str) -> bool:
    from crafter import constants

    return bool(inventory[name] < constants.items[name]["max"])
