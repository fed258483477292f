"""Malformed values for every option of every command, drawn by the type that the option's parser gives it."""

from __future__ import annotations

import inspect
import os
import random
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from jsonargparse import ArgumentParser
from reliability_places import rollout_files
from reliability_runs import Bench, Case, Started

from swirl_lightning.commands import main
from swirl_lightning.commands.collect import WORLDS
from swirl_lightning.commands.parser import Parser

VALUES_OF_AN_OPTION, QUICK_OPTIONS = 2, 12
HUGE = "1000000000000000000000"
NO_NUMBERS = ("many", "1,5", "0x", "[1, 2]", "{a: 1}", "true false", "\u0663\u0661x")
NOT_FINITE = (".nan", ".inf", "-.inf", "1e400")
VALUES = {
    "int": ("-1", "0", "1.5", "-0.0", HUGE, f"-{HUGE}", "", "null", "true"),
    "float": ("-1", "0", "1e-300", HUGE, "-1e300", "", "null", "true", "1e"),
    "bool": ("maybe", "2", "[]", ".nan", "null", "", "yes", "True"),
    "str": ("", " ", "nowhere", "[1]", "{}", "null", "-1", "x" * 5000, "\x1b[31m", "a\nb", "\udcff", "é", "../..", "{"),
    "Path": ("", "nowhere/at/all", "/dev/null", "/", "\udcff", "x" * 300, "-"),
    "Literal": ("nothing", "", "[]", "null", "1", "True"),
    "list": ("word", "[", "{", "[null]", "[[]]", "[.nan]", "-1", "[]", "null", "[1, 2, 3, 4, 5, 6]", "[-1, 0, 0, 0]"),
    "class": ("NoSuchClass", "os.system", "os", "{}", "1", "null", "{class_path: 3}", "{class_path: os.system}", "[]",
              "", "collections.Counter", "{init_args: {}}", "{class_path: collections.Counter, init_args: {n: 1}}"),
}  # fmt: skip
"""Values by type; besides, numbers are given what is no number, which must be refused."""
WORK = {"updates", "iterations", "games", "steps", "episodes", "num_layers", "quest_length", "samples", "n",
        "world_size", "nb_objects"}  # fmt: skip
"""Amounts of work, of which a huge one is what was asked for: it is not tried."""
NOBODY = "http://127.0.0.1:9/v1"
"""Where no judge answers."""
HUB = {"name", "base_model"}
"""Names of models: one that is not there would be looked for on the hub."""


NEEDS = {
    "PretrainedLM": ["--model.base.name=BASE"],
    "PhaseProgress": ["--trainer.enable_progress_bar=true"],
    "MixtureDataModule": ["--data.environments={a: {class_path: LogDataModule, init_args: {path: DATA}}, "
                          "b: {class_path: LogDataModule, init_args: {path: DATA}}}"],
    "WebToolDataModule": ["--data.web.path=DATA", "--data.tool.path=DATA"],
}  # fmt: skip
"""What else a class must be given."""


class Option(NamedTuple):
    """An option of a command.

    Args:
        name: as the message about it must name it.
        types: the words of its type.
        give: the arguments that give it a value.
    """

    name: str
    types: frozenset[str]
    give: Callable[[str], list[str]]

    def values(self, rng: random.Random) -> Iterator[tuple[list[str], bool, str]]:
        """Arguments, whether they must be refused, and what they are."""
        pool = [(value, False) for kind in sorted(self.types & VALUES.keys()) for value in VALUES[kind]]
        if self.types & {"int", "float"}:
            pool += [(value, "str" not in self.types and "list" not in self.types) for value in NO_NUMBERS]
            pool += [(value, "str" not in self.types) for value in NOT_FINITE] * 2
        if self.name == "out":  # root may write there
            pool = [entry for entry in pool if entry[0] != "/"]
        if self.name in WORK:
            pool = [entry for entry in pool if entry[0] != HUGE]
        for value, refuse in rng.sample(pool, min(VALUES_OF_AN_OPTION, len(pool))):
            yield self.give(value), refuse, repr(value[:30])
        if rng.random() < 2 / 3:
            return
        at = rng.randrange(len(self.name))
        misspelt = self.name[:at] + self.name[at + 1 :] + "q"
        (given,) = self.give("1")[-1:]
        yield [given.replace(self.name, misspelt)], True, f"misspelt {misspelt}"


class Found(BaseException):
    """A parser, before it reads anything; not to be caught by the command."""


def parser_of(*args: str) -> ArgumentParser:
    """The parser of a command."""

    def found(parser: Parser, *_: Any, **__: Any) -> None:
        raise Found(parser)

    try:
        with patch.object(Parser, "parse_args", found):
            main([*args])
    except Found as stopped:
        return stopped.args[0]
    raise RuntimeError(f"{args}: no parser")


def options_of(parser: ArgumentParser, prefix: str = "", path: str = "") -> Iterator[Option]:
    """Every option of a parser, and those of the classes of this project that one may name.

    Args:
        parser: that of a command, or of a class.
        prefix: what its keys begin with.
        path: what they begin with on the command line.
    """
    seen = set()  # what many classes inherit comes once
    for action in parser._actions:
        hint = getattr(action, "_typehint", action.type)
        if hint is None or action.dest.startswith(("config", "print_config")) or action.dest.endswith(".help"):
            continue
        if not action.option_strings and not prefix:
            continue  # an argument without a name has cases of its own
        key = action.dest.removeprefix(prefix)
        types = frozenset(re.findall(r"\w+", str(hint))) - {"class"}
        types |= {"list"} if types & {"Sequence", "dict", "tuple"} else set()
        classes = [] if path else classes_of(hint)
        types |= {"class"} if classes else set()
        yield Option(key.rpartition(".")[2], types, lambda value, key=key: [f"--{path}{key}={value}"])
        for kind in classes:
            inner = ArgumentParser(exit_on_error=False)
            inner.add_class_arguments(kind, "it")
            own = inspect.signature(kind).parameters
            for option in options_of(inner, "it.", "" if kind.__name__ == "Stage" else f"{path}{key}."):
                place = (f"{path}{key}", option.name, kind if option.name in own else None)
                if place not in seen:
                    seen.add(place)
                    yield Option(option.name, option.types, partial(within, f"--{path}{key}", kind, option))


def within(key: str, kind: type, option: Option, value: str) -> list[str]:
    """The arguments that give an option of a class its value."""
    if kind.__name__ == "Stage":
        quoted = f"'{value}'" if "," in value else value  # else it would be two entries
        stage = {"phase": "sft", "updates": "1"} | {option.name: quoted}
        return [f"{key}=[{{{', '.join(f'{name}: {its}' for name, its in stage.items())}}}]"]
    append = "+" if key.endswith("callbacks") else ""
    named = f"{key}{append}={kind.__module__}.{kind.__qualname__}"
    return [named, *NEEDS.get(kind.__name__, []), *option.give(value)]


def classes_of(hint: Any) -> list[type]:
    """The classes of this project that a type stands for."""
    found = [hint] if inspect.isclass(hint) else []
    for inner in getattr(hint, "__args__", ()):
        found += classes_of(inner)
    every = [kind for each in found for kind in [each, *subclasses(each)]]
    return sorted(
        {kind for kind in every if kind.__module__.startswith("swirl_lightning.") and not inspect.isabstract(kind)},
        key=lambda kind: kind.__qualname__,
    )


def subclasses(kind: type) -> Iterator[type]:
    try:
        inner = kind.__subclasses__()
    except TypeError:
        return
    for each in inner:
        yield each
        yield from subclasses(each)


def options(bench: Bench) -> Iterator[Case]:
    """All of them."""
    training = list(options_of(parser_of("fit")._subcommands_action.choices["fit"]))
    planning = list(options_of(parser_of("plan", f"--config={bench.config}")))
    commands = {"fit": training, "plan": bench.rng.sample(planning, 40)}
    commands |= {name: bench.rng.sample(training, 12) for name in ("validate", "test", "predict")}  # their options too
    commands |= {name: list(options_of(parser_of(name))) for name in ("label", "rollout", "export", "report", "judge")}
    commands |= {f"collect {world}": list(options_of(parser_of("collect", world))) for world in WORLDS}
    if bench.quick:
        every = [(command, option) for command, its in commands.items() for option in its]
        chosen = bench.rng.sample(every, QUICK_OPTIONS)
        commands = {command: [o for name, o in chosen if name == command] for command in commands}
    for command, its in commands.items():
        for option in its:
            for args, refuse, what in option.values(bench.rng):
                name = f"{command}, {args[-1].partition('=')[0]}: {what}"
                yield Case(name, partial(given, bench, command, option, args, refuse))


def given(bench: Bench, command: str, option: Option, args: list[str], refuse: bool) -> str | None:
    """Run a command with an option that is malformed, or not quite."""
    root = bench.new()
    root.mkdir(parents=True)
    run, (state, actions) = str(bench.run), rollout_files(bench)
    base = {
        "fit": lambda: bench.fit(root),
        "plan": lambda: ["plan", f"--config={bench.config}"],
        "label": lambda: ["label", run, str(bench.log), f"--out={root / 'out.jsonl'}"],
        "rollout": lambda: ["rollout", run, f"--state={state}", f"--actions={actions}"],
        "export": lambda: ["export", run, f"--out={root / 'out'}"],
        "report": lambda: ["report", run],
        "collect textworld": lambda: ["collect", "textworld", f"--out={root / 'out'}", "--games=8", "--steps=3"],
        "collect physics": lambda: ["collect", "physics", f"--out={root / 'out'}", "--tasks=[boil]", "--steps=2",
                                    "--variations=[2, 1, 1]"],
        "collect tool": lambda: ["collect", "tool", f"--out={root / 'out'}", "--server=false", "--timeout=2"],
        "collect web": lambda: ["collect", "web", f"--out={root / 'out'}", "--tasks=[click-button]", "--episodes=8",
                                "--steps=1"],
        "collect minigrid": lambda: ["collect", "minigrid", f"--out={root / 'out'}", "--episodes=8", "--steps=2"],
        "collect crafter": lambda: ["collect", "crafter", f"--out={root / 'out'}", "--episodes=8", "--steps=2",
                                    "--life=4"],
        "collect video": lambda: ["collect", "video", str(videos(bench)), f"--out={root / 'out'}", "--every=1",
                                  "--processes=1"],
        "judge": lambda: ["judge", str(predictions(bench)), "--rubric=agentworld", f"--url={NOBODY}", "--model=none",
                          f"--out={root / 'out'}", "--retries=0", "--timeout=2", "--budget=4"],
    }.get(command, lambda: [command, *bench.fit(root, f"--ckpt_path={bench.checkpoint}")[1:]])  # fmt: skip
    args = [each.replace("BASE", str(bench.base)).replace("DATA", str(bench.data)) for each in args]
    fresh = command == "collect video"  # its own processes are long in ending where they come from a forked one
    outcome = Started([*base(), *args], partial(within_folder, root), fresh=fresh).end()
    key, _, value = args[-1].partition("=")
    names = (option.name, key.rpartition(".")[2], *([value[:50]] if len(value) > 3 else []))
    if fault := outcome.fault(*(names if refuse else ())):  # of a good value, another refusal may follow
        return fault
    if refuse and outcome.code != 2:
        return f"accepted, exit code {outcome.code}"
    return bench.finite(root) if outcome.code == 0 else None


def predictions(bench: Bench) -> Path:
    """What ``swirl predict`` wrote for the undisturbed run."""
    root = bench.folder / "predicted"
    if not root.exists():
        outcome = Started(["predict", *bench.fit(root, f"--ckpt_path={bench.checkpoint}")[1:]]).end()
        if outcome.code != 0:
            raise RuntimeError(f"predict failed: {outcome}")
    return root / "version_0" / "predictions.jsonl"


def videos(bench: Bench) -> Path:
    """A folder with a video of four frames, a second apart; without PyAV one that cannot be read."""
    folder = bench.folder / "videos"
    if not folder.exists():
        folder.mkdir()
        path = folder / "four.mp4"
        path.touch()
        with suppress(ImportError):
            import av

            with av.open(str(path), "w") as container:
                stream: Any = container.add_stream("mpeg4", rate=1)
                stream.width = stream.height = 64
                for n in range(4):
                    pixels = np.random.default_rng(n).integers(60, 255, (64, 64, 3), np.uint8)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
                container.mux(stream.encode())
    return folder


def within_folder(root: Path, marks: int) -> None:
    """What is written to a place that an odd option names stays in the case's folder."""
    os.chdir(root)
