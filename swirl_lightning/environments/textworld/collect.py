"""Collects a transition data set from generated TextWorld games, with the engine itself (arXiv 1806.11532)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from swirl_lightning.environments.collection import describe_run, share_seen, write_collection
from swirl_lightning.environments.played import Game, Played
from swirl_lightning.environments.splits import SPLITS, Fractions, Split, assign_splits
from swirl_lightning.environments.textworld.room import describe
from swirl_lightning.types import InputError, Transition

if TYPE_CHECKING:
    from textworld.generator import Game as Made

RESET = 0.08  # chance of a reset before each step: an episode has about 12 steps

# Entity names are drawn anew at every episode, so that a model learns what actions do and not what things are called.
NAMES = {
    "r": ("attic", "cellar", "kitchen"),
    "c": ("box", "chest", "crate", "fridge", "safe"),
    "s": ("bench", "desk", "rack", "shelf", "table"),
    "d": ("gate", "hatch"),
    "k": ("keycard", "latchkey", "passkey"),
    "f": ("apple", "bread", "cheese", "pie"),
    "o": ("book", "coin", "cup", "hat", "lamp", "rope"),
}
IDLE = ("examine", "inventory", "look")  # commands that change nothing


@dataclass(frozen=True)
class World:
    """What a TextWorld game is generated from."""

    world_size: int
    nb_objects: int
    quest_length: int


def collect_textworld(
    out: Path,
    games: int = 50,
    steps: int = 800,
    seed: int = 0,
    world_size: int = 2,
    nb_objects: int = 8,
    quest_length: int = 3,
    fractions: Fractions = (0.2, 0.6, 0.06, 0.14),
) -> None:
    """Generate TextWorld games, walk through them at random and write the transitions as a data set.

    The walk draws a kind of action first, then a command of that kind. The state is what stands in the player's room,
    closed containers opened to view, one fact a line; the next state is a function of state and action. ``go`` is
    walked but left out of the data, as the room behind the door cannot be predicted. The same arguments and the same
    version of TextWorld give the same data; another seed gives other games, names and walks.

    Args:
        out: the folder to write; it is made where it does not exist.
        games: number of games.
        steps: steps walked in each game.
        seed: what everything random follows from.
        world_size: rooms in a game.
        nb_objects: objects in a game.
        quest_length: length of the quest that a game is generated around.
        fractions: share of the games in labelled, state_only, validation and test.

    Raises:
        InputError: TextWorld is not installed, or an argument is out of range.
    """
    arguments = dict(locals())  # before any other name is given: they are recorded with the data
    del arguments["out"]
    world = World(world_size, nb_objects, quest_length)
    for name, value in {"games": games, "steps": steps, **asdict(world)}.items():
        if value < 1:
            raise InputError(f"swirl collect textworld: {name}: found {value}, expected at least 1")
    split_of = assign_splits([_game_id(game) for game in range(games)], fractions, seed, "game")
    parts: dict[Split, list[Transition]] = {split: [] for split in SPLITS}
    with Played(out, arguments, games, "games") as played:
        for game in range(games):
            name = _game_id(game)
            parts[split_of[name]] += played.game(name, partial(_play, game, steps, seed, world)).transitions
        _write(out, parts, arguments, split_of)


def _write(
    out: Path, parts: dict[Split, list[Transition]], arguments: dict[str, object], split_of: dict[str, Split]
) -> None:
    record = describe_run("textworld", out, arguments, ["textworld", "numpy"]) | {
        "games": {split: [game for game, its in split_of.items() if its == split] for split in SPLITS},
        "held_out_seen_in_training": share_seen(parts),
    }
    write_collection(out, parts, record)


def _play(game: int, steps: int, seed: int, world: World) -> Game:
    return Game(play(game, steps, seed, world), {})


def play(game: int, steps: int, seed: int, world: World) -> list[Transition]:
    """The distinct transitions of one walk. They depend on the arguments alone, not on other games."""
    rng = random.Random(f"{seed}/{game}")
    made = _make_game(rng.randrange(2**31), world)
    return list(_walk(made, steps, rng, _game_id(game)))


def _game_id(game: int) -> str:
    return f"g{game:03d}"


def _make_game(seed: int, world: World) -> Made:
    try:
        import textworld
        from textworld.generator import make_game
    except ImportError as error:
        raise InputError(
            "swirl collect textworld: the package textworld is not installed; pip install 'swirl-lightning[textworld]'"
        ) from error
    options = textworld.GameOptions()
    options.nb_rooms, options.nb_objects, options.quest_length = world.world_size, world.nb_objects, world.quest_length
    options.seeds = seed
    return make_game(options)


def _walk(game: Made, steps: int, rng: random.Random, game_id: str) -> Iterator[Transition]:
    from textworld.generator.game import GameProgression

    episode, seen = 0, set[tuple[str, str]]()
    for step in range(steps):
        if step == 0 or rng.random() < RESET:
            episode += 1
            names = _draw_names(game, rng)
            progression = GameProgression(game, track_quests=False)
            state = describe(progression, names)
        commands = {
            command: action
            for action in progression.valid_actions
            if not (command := action.format_command(names)).startswith(IDLE)
        }
        if not commands:
            continue
        kinds = sorted({command.split()[0] for command in commands})
        kind = rng.choice(kinds)
        command = rng.choice(sorted(command for command in commands if command.split()[0] == kind))
        progression.update(commands[command])
        before, state = state, describe(progression, names)
        if kind != "go" and before != state and (before, command) not in seen:
            seen.add((before, command))
            yield Transition(f"{game_id}-{episode:03d}", step, before, state, command)


def _draw_names(game: Made, rng: random.Random) -> dict[str, str]:
    """A word for each entity of the game, by its id; a number follows the word once a kind's words are used up."""
    names: dict[str, str] = {}
    for kind, words in NAMES.items():
        ids = sorted(id_ for id_, info in game.infos.items() if info.type == kind)
        rounds = range(1 + len(ids) // len(words))
        pool = [word + (str(n + 1) if n else "") for n in rounds for word in rng.sample(words, len(words))]
        names.update(zip(ids, pool, strict=False))
    return names
