"""Collects transitions from any Model Context Protocol server: calls drawn from its schemas, or read from a file."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from swirl_lightning.environments.collection import describe_run, write_collection
from swirl_lightning.environments.played import Game, Played
from swirl_lightning.environments.splits import SPLITS, Fractions, Split, assign_splits
from swirl_lightning.environments.tool.call import Call, read_calls, write_call
from swirl_lightning.environments.tool.call_drawer import CallDrawer
from swirl_lightning.environments.tool.documentation import Detail, Tool, document
from swirl_lightning.environments.tool.episode import CallSource, World, check_answers, fresh_folder, play
from swirl_lightning.environments.tool.fitness import choose_fit
from swirl_lightning.environments.tool.permission import choose_tools
from swirl_lightning.environments.tool.server import FOLDER, Server, ServerLost
from swirl_lightning.types import InputError, Transition, say

logger = logging.getLogger(__name__)


def collect_tool(
    out: Path,
    server: str,
    headers: dict[str, str] | None = None,
    episodes: int = 60,
    steps: int = 8,
    seed: int = 0,
    tools: list[str] | None = None,
    allow: list[str] | None = None,
    calls: Path | None = None,
    values: dict[str, list[Any]] | None = None,
    files: Path | None = None,
    docs: Detail = "full",
    timeout: float = 30.0,
    max_chars: int = 24000,
    fractions: Fractions = (0.2, 0.6, 0.06, 0.14),
    dry_run: bool = False,
) -> None:
    """Call the tools of a Model Context Protocol server and write what they answer as a data set.

    The state is the documentation of the tools and the results so far of the episode, never the calls; the action is
    the call; the next state is the state and below it the result. An episode begins with a fresh process of the server,
    and with a fresh folder where the command line has ``{folder}``; a server behind a URL keeps its own state.

    A tool is called only if the server marks it as harmless or ``allow`` names it. By the protocol's specification a
    tool of which nothing is said may destroy, unless it only reads, and deals with an open world.

    A call that the server does not answer costs its row: the server is started anew, and the steps that are left make
    an episode of their own. Equal arguments give equal calls as long as the server answers alike.

    Args:
        out: the folder to write; it is made where it does not exist.
        server: a command line, begun by NAME=VALUE words for its environment where it needs some, or the URL of a
            server that speaks streamable HTTP. {folder} in it is a fresh folder for each episode; the data says
            {folder} too. A value whose name says key, token, secret, password or the like is written nowhere: data,
            record and messages have ... in its place.
        headers: of every request to a URL, for example {"Authorization": "Bearer $TOKEN"}, where $TOKEN stands for the
            environment variable. They are not written anywhere.
        episodes: number of episodes; with calls, as many as they fill.
        steps: calls in an episode; it ends earlier where its state would get longer than max_chars.
        seed: what the calls and the splits follow from.
        tools: call only these tools; null means all that may be called.
        allow: tools to call although they may destroy or deal with an open world.
        calls: a JSONL file with {"tool": ..., "arguments": {...}} a line. They are made in this order instead of drawn
            ones, so many an episode as steps says.
        values: what arguments may hold, by their names, for example {"timezone": ["Asia/Tokyo", "Europe/Oslo"]}.
        files: a folder whose content is copied into {folder} at the start of each episode.
        docs: what the state says of a tool; full is its signature and descriptions, short its signature.
        timeout: seconds that a call may take.
        max_chars: longest state, in characters.
        fractions: share of the episodes in labelled, state_only, validation and test.
        dry_run: list the tools and the calls, and call nothing.

    Raises:
        InputError: the server does not start, answers nothing or errors alone, no tool may be called, or an argument is
            wrong.
    """
    for name, number in {"episodes": episodes, "steps": steps, "max_chars": max_chars, "timeout": timeout}.items():
        if number <= 0:
            raise InputError(f"swirl collect tool: {name}: found {number}, expected more than 0")
    reached = Server(server, timeout, headers)
    if files is not None and not (files.is_dir() and reached.has_folder):
        raise InputError(
            f"--files: found {str(files)!r}, expected a folder that is there, and {FOLDER} in --server to copy it to"
        )
    script = None if calls is None else read_calls(calls)
    if script is not None:
        episodes = -(-len(script) // steps)
    names = [f"e{number:04d}" for number in range(episodes)]
    split_of = assign_splits(names, fractions, seed, "episode")
    drawer = (
        CallDrawer(random.Random(0), values or {}, FOLDER if reached.has_folder else None) if calls is None else None
    )
    listed, left_out = choose_tools(asyncio.run(_list_tools(reached, files)), tools, allow or [], script)
    listed, unfit = choose_fit(listed, drawer, script)
    world = World(reached, listed, steps, seed, script, values or {}, files, docs, max_chars)
    if dry_run:
        say(reached.secrets.hide("\n".join(_plan(world, names, [left_out, unfit]))))
        return
    if left_out:
        logger.info(left_out)
    if unfit:
        logger.warning(unfit)
    parts: dict[Split, list[Transition]] = {split: [] for split in SPLITS}
    arguments = {
        "server": reached.public_address, "episodes": episodes, "steps": steps, "seed": seed, "tools": tools,
        "allow": allow, "calls": calls and calls.name, "values": values, "files": files and files.name, "docs": docs,
        "timeout": timeout, "max_chars": max_chars, "fractions": list(fractions),
    }  # fmt: skip
    given = reached.secrets.hide_in({name: value for name, value in arguments.items() if value is not None})
    content = {} if calls is None else {"content of calls": hashlib.sha256(calls.read_bytes()).hexdigest()[:12]}
    with Played(out, given | content, len(names), "episodes") as played:
        for number, name in enumerate(names):
            made = played.game(name, partial(_play, world, number, name))
            parts[split_of[name]] += made.transitions
            world.add(made.notes)
        check_answers(world)
        _write(out, parts, world, given)


def _play(world: World, number: int, name: str) -> Game:
    """An episode and what was lost in it; the world's counts are those of all episodes that are in the collection."""
    own = world.anew()
    transitions = asyncio.run(play(own, number, name))
    world.silent = own.silent
    return Game(transitions, own.counts())


def _write(out: Path, parts: dict[Split, list[Transition]], world: World, given: dict[str, Any]) -> None:
    reached = world.server
    found = {
        "server": reached.secrets.hide_in(reached.about),
        "tools": [tool.name for tool in world.tools],
        "lost": world.lost,
    }
    write_collection(out, parts, describe_run("tool", out, given, ["mcp"]) | found)


async def _list_tools(server: Server, files: Path | None) -> list[Tool]:
    with fresh_folder(files) as folder:
        try:
            async with server.session(folder) as session:
                return await session.tools()
        except ServerLost as error:
            raise InputError(
                f"--server {server.public_address}: found no list of tools ({error}), expected a server of the Model "
                "Context Protocol; check the command or the URL"
            ) from error


def _plan(world: World, names: Sequence[str], left_out: Sequence[str]) -> Iterator[str]:
    """What a run would do. What depends on answers cannot be known: here every call is taken to do what it says."""
    yield "tools:"
    yield from (document(tool, "short") for tool in world.tools)
    yield from filter(None, left_out)
    yield "calls, where they do not speak of earlier results:"
    for number, name in enumerate(names):
        calls = CallSource(world, number)
        while calls:
            call: Call = calls.next()
            calls.remember(call, "")
            yield f"{name} {write_call(call.tool, call.arguments)}"
