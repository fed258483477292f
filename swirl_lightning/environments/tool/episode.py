"""Plays episodes of tool calls and writes down what a server answers."""

from __future__ import annotations

import json
import logging
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swirl_lightning.environments.tool.call import Call, write_call
from swirl_lightning.environments.tool.call_drawer import CallDrawer, Unfit
from swirl_lightning.environments.tool.documentation import Detail, Tool, document
from swirl_lightning.environments.tool.result import result_block
from swirl_lightning.environments.tool.server import FOLDER, Server, reason
from swirl_lightning.types import InputError, Transition

GIVE_UP = 10  # calls in a row without an answer
ERROR = "error: "

logger = logging.getLogger(__name__)


@dataclass
class World:
    """What episodes have in common, as in ``collect_tool``, and what was lost in them.

    Args:
        tools: those that may be called.
        script: all calls, where they are not drawn.
        lost: a line for each row that was lost.
        answers: how many each tool has given.
        errors: how many of them were errors.
        silent: how often the server has not answered since it last did.
    """

    server: Server
    tools: Sequence[Tool]
    steps: int
    seed: int
    script: Sequence[Call] | None
    values: Mapping[str, Sequence[Any]]
    files: Path | None
    docs: Detail
    max_chars: int
    lost: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    silent: int = 0

    def anew(self) -> World:
        """The same for another episode, in which nothing is lost yet."""
        return replace(self, lost=[], answers=Counter(), errors=Counter())

    def counts(self) -> dict[str, Any]:
        """What was lost, and the answers, as JSON can write it."""
        return {"lost": self.lost, "answers": dict(self.answers), "errors": dict(self.errors)}

    def add(self, counts: Mapping[str, Any]) -> None:
        """Count what another episode has counted."""
        self.lost += counts["lost"]
        self.answers.update(counts["answers"])
        self.errors.update(counts["errors"])


class CallSource:
    """The calls of one episode, by its number, from a script or drawn from the tools' schemas."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self._rng = random.Random(f"{world.seed}/{number}")
        first = number * world.steps
        self._script = None if world.script is None else world.script[first : first + world.steps]
        self._made = 0
        self._writing = {tool.name for tool in world.tools if not tool.read_only}
        self.start()

    def __bool__(self) -> bool:
        return self._made < (self._world.steps if self._script is None else len(self._script))

    def start(self) -> None:
        """Forget what was seen: the server is a new one."""
        self._drawer = CallDrawer(self._rng, self._world.values, FOLDER if self._world.server.has_folder else None)

    def next(self) -> Call:
        """The next call."""
        self._made += 1
        if self._script is not None:
            return self._script[self._made - 1]
        tool = self._drawer.choose(self._world.tools)
        return Call(tool.name, self._drawer.arguments(tool))

    def remember(self, call: Call, answer: str) -> None:
        """Let later calls speak of what is in the result and, where the call wrote something, of what that was."""
        if answer.startswith(ERROR):
            self._drawer.fail(call.tool)
            return
        if call.tool in self._writing:
            self._drawer.remember(call.arguments)
        with suppress(ValueError, RecursionError):
            self._drawer.remember(json.loads(answer))


async def play(world: World, number: int, name: str) -> list[Transition]:
    """The transitions of an episode; where the server is lost on the way, of its parts ``name``, ``name.1``, ...

    Raises:
        InputError: the server answers no call at all any more.
    """
    transitions: list[Transition] = []
    calls = CallSource(world, number)
    part = 0
    documented = "\n".join(document(tool, world.docs) for tool in world.tools)
    while calls:
        title = f"{name}.{part}" if part else name
        call: Call | None = None
        calls.start()
        with fresh_folder(world.files) as folder:
            try:
                async with world.server.session(folder) as session:
                    state, step = documented, 0
                    while calls:
                        call = calls.next()
                        answer = _to_data(await session.call(call.tool, _to_server(call.arguments, folder)), folder)
                        world.silent = 0
                        world.answers[call.tool] += 1
                        world.errors[call.tool] += answer.startswith(ERROR)
                        calls.remember(call, answer)
                        next_state = f"{state}\n{result_block(answer)}"
                        if len(next_state) > world.max_chars:
                            logger.info("%s: ends before step %d, whose state would be too long", title, step)
                            return transitions
                        action = world.server.secrets.hide(write_call(call.tool, call.arguments))
                        transitions.append(Transition(title, step, state, next_state, action))
                        state, step, call = next_state, step + 1, None
            except Unfit:
                raise
            except Exception as error:
                _note_loss(world, title, call, error, ended=not calls)
                if isinstance(error, InputError):  # it did not start again
                    return transitions
        part += 1
    return transitions


def _note_loss(world: World, title: str, call: Call | None, error: Exception, ended: bool) -> None:
    if call is None and ended:  # all calls were answered; only the end was bad
        logger.info("%s: the connection ended badly: %s", title, world.server.secrets.hide(reason(error)))
        return
    made = world.server.secrets.hide(write_call(call.tool, call.arguments))[:200] if call else "between calls"
    said = f"{title}: {made}: {world.server.secrets.hide(str(error))}"
    world.lost.append(said)
    world.silent += 1
    logger.warning("left out: %s", said)
    if world.silent >= GIVE_UP:
        raise InputError(
            f"--server {world.server.public_address}: no answer {GIVE_UP} times in a row, the last time: {said}; "
            "raise --timeout, or leave tools that hang out with --tools"
        ) from error


def check_answers(world: World) -> None:
    """Warn where most answers were errors, of which a model learns little.

    Raises:
        InputError: all were.
    """
    answers, errors = world.answers.total(), world.errors.total()
    by_tool = ", ".join(f"{name} {world.errors[name]} of {count}" for name, count in world.answers.items())
    cure = "give values that exist with --values, what the tools work on with --files, or name other --tools"
    if answers and errors == answers:
        raise InputError(f"--server {world.server.public_address}: all {answers} answers were errors, so that nothing "
                         f"is written ({by_tool}); {cure}")  # fmt: skip
    if 2 * errors > answers:
        logger.warning("%d of %d answers were errors (%s); %s", errors, answers, by_tool, cure)


@contextmanager
def fresh_folder(files: Path | None) -> Iterator[Path]:
    """A folder of one episode, with a copy of what is in ``files``."""
    with tempfile.TemporaryDirectory(prefix="swirl-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve() / "folder"
        if files is None:
            folder.mkdir()
        else:
            shutil.copytree(files, folder, symlinks=True)
        yield folder


def _to_server(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {name: _to_server(inner, folder) for name, inner in value.items()}
    if isinstance(value, list):
        return [_to_server(inner, folder) for inner in value]
    return value.replace(FOLDER, str(folder)) if isinstance(value, str) else value


def _to_data(answer: str, folder: Path) -> str:
    """The answer without places of this machine."""
    home = str(Path.home())
    answer = answer.replace(str(folder), FOLDER)
    return answer.replace(home, "~") if len(home) > 1 else answer
