"""What every kind of case is made of: a tiny run, a command in a process of its own, and what is held against it."""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import random
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml
from transformers import LlamaConfig, LlamaForCausalLM

from swirl_lightning.commands import main
from swirl_lightning.commands.collect import WORLDS
from swirl_lightning.trained.load import load_run

LIMIT = 60.0
"""Seconds that one command may take."""
MEMORY = 6 * 2**30
"""Bytes of its own that one command may ask for; a run of a case needs a tenth."""
CODES = (0, 1, 2, 128 + signal.SIGHUP, 128 + signal.SIGINT, 128 + signal.SIGPIPE, 128 + signal.SIGTERM)
"""The exit codes that ``swirl --help`` lists, without that of an error of our own."""
FAILED = ("training stopped: ",)
TIMED = ("seconds", "share_generation", "share_scoring", "share_update", "tokens_per_second")
EXTRAS = ("datasets", "gguf", "mcp", "textworld", "torch.utils.tensorboard")
DEBUG = Path(__file__).parents[1] / "configs" / "debug.yaml"
THINGS = {"door": ("open", "shut"), "lamp": ("on", "off"), "safe": ("free", "locked")}

Prepare = Callable[[int], object]
"""Something done in the new process before the command; it is given the file that marks are written to."""


class Case(NamedTuple):
    """One case.

    Args:
        name: what is done.
        fault: does it, and returns what was wrong with the answer; None where nothing was.
    """

    name: str
    fault: Callable[[], str | None]


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Args:
        code: its exit code, negative for a signal; None where it was still there after ``LIMIT``.
        out: what it printed.
        err: its error output.
    """

    code: int | None
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line of the error output."""
        return (self.err.strip().splitlines() or [""])[-1]

    def fault(self, *names: str) -> str | None:
        """What is wrong with this end of a command that may be refused.

        Args:
            names: of which a refusal must have one: the file, the line or the key.
        """
        if self.code is None:
            return f"no end within {LIMIT:.0f} s"
        if "Traceback" in self.err:
            return f"a traceback, exit code {self.code}: {self.last if self.code != 70 else self.err.splitlines()[-2]}"
        if self.code not in CODES:
            return f"exit code {self.code}: {self.last}"
        if self.code == 2:
            told = [line for line in self.err.splitlines() if line.startswith("error: ")]
            if told != [self.last]:
                return f"not one line that ends the output: {self.err[-300:]!r}"
            if names and not any(name in self.last for name in names):
                return f"names none of {', '.join(names)}: {self.last}"
        if self.code == 1 and not (self.err + self.out).strip():
            return "exit code 1 without a word"
        return None


class Started:
    """A command in a process of its own, forked from this one, which has imported all that is slow to import.

    Args:
        args: of ``swirl``.
        prepare: done in the process first.
        fresh: a new interpreter instead, as a shell starts it.
    """

    def __init__(self, args: list[str], *prepare: Prepare, fresh: bool = False) -> None:
        pipes = {name: os.pipe() for name in ("out", "err", "marks")}
        sys.stdout.flush()
        sys.stderr.flush()
        self.begun = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            _command(args, prepare, fresh, *(write for _, write in pipes.values()))
        for _, write in pipes.values():
            os.close(write)
        self._names = {read: name for name, (read, _) in pipes.items()}
        self.text = dict.fromkeys(pipes, b"")

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.begun

    @property
    def marks(self) -> list[str]:
        """The moments that it has come to, see ``mark``."""
        return self.text["marks"].decode().splitlines()

    def read(self, until: Callable[[], bool] = lambda: False) -> bool:
        """Take what it writes, until something holds or it ends or its time is over. Returns whether that holds."""
        while not (held := until()) and self._names and self.seconds < LIMIT:
            for place in select.select(list(self._names), [], [], 0.002)[0]:
                data = os.read(place, 65536)
                self.text[self._names[place]] += data
                if not data:
                    os.close(place)
                    del self._names[place]
        return held

    def wait(self, seconds: float) -> None:
        """Let it go on for so long."""
        end = time.monotonic() + seconds
        self.read(lambda: time.monotonic() >= end)

    def end(self) -> Outcome:
        """Wait for its end; at ``LIMIT`` end it, and whatever it has started."""
        self.read()
        hangs = bool(self._names)
        if hangs:
            os.killpg(self.pid, signal.SIGKILL)
            for place in self._names:
                os.close(place)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        texts = (self.text[name].decode(errors="replace") for name in ("out", "err"))
        return Outcome(None if hangs else code, *texts)


def _command(args: list[str], prepare: tuple[Prepare, ...], fresh: bool, out: int, err: int, marks: int) -> NoReturn:
    """What the new process does."""
    code: Any = 1
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # whatever ends this script ends its processes
        os.dup2(out, 1)
        os.dup2(err, 2)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        for step in prepare:
            step(marks)
        if fresh:
            os.execv(sys.executable, [sys.executable, "-m", "swirl_lightning", *args])
        code = main(args)
    except SystemExit as left:
        code = left.code
    except BaseException:
        traceback.print_exc()
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except OSError:
        code = 120  # that of Python, where what is left cannot be written
    os._exit(code if isinstance(code, int) else int(code is not None))


def mark(marks: int) -> None:
    """Write to the file when an update, a batch of an evaluation or a checkpoint begins."""
    from swirl_lightning.callbacks import PhaseCheckpoint
    from swirl_lightning.modules import SWIRL

    def marked(owner: type, name: str, word: Callable[[Any], str]) -> None:
        inner = getattr(owner, name)

        def call(it: Any, *args: Any, **kwargs: Any) -> Any:
            os.write(marks, f"{word(it)}\n".encode())
            return inner(it, *args, **kwargs)

        setattr(owner, name, call)

    marked(SWIRL, "training_step", lambda module: f"update of {module.trainer.fit_loop.current.name}")
    marked(SWIRL, "validation_step", lambda module: "evaluation")
    marked(PhaseCheckpoint, "_save", lambda trainer: "checkpoint")


@dataclass
class Bench:
    """A folder with a tiny world, a tiny configuration and an undisturbed run of it.

    Args:
        folder: where all of it lies.
        seed: of all that is random.
        quick: a fraction of the cases.
    """

    folder: Path
    seed: int
    quick: bool
    rng: random.Random = field(init=False)
    number: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (self.folder, self.folder.parent):
            path.chmod(0o755)  # some cases are those of a user without rights
        preload()
        self.data.mkdir()
        for split in ("labelled", "state_only", "validation", "test"):
            write_rows(self.data / f"{split}.jsonl", world(split, actions=split != "state_only"))
        write_rows(self.log, world("log", actions=False))
        write_config(self.config, self.data)
        started = Started(self.fit(self.folder / "runs"))
        outcome = started.end()
        if outcome.code != 0:
            raise RuntimeError(f"the undisturbed run failed: {outcome}")
        self.seconds = started.seconds
        write_base(self.base, self.run)

    @property
    def data(self) -> Path:
        """The folder of the four splits."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """A state-only log."""
        return self.folder / "log.jsonl"

    @property
    def base(self) -> Path:
        """A folder with a tiny language model."""
        return self.folder / "base"

    @property
    def config(self) -> Path:
        """The configuration of the undisturbed run."""
        return self.folder / "config.yaml"

    @property
    def run(self) -> Path:
        """The folder of the undisturbed run."""
        return self.folder / "runs" / "version_0"

    @property
    def checkpoint(self) -> Path:
        """Its last checkpoint."""
        return self.run / "checkpoints" / "last.ckpt"

    def new(self) -> Path:
        """A new place, where nothing is."""
        return self.folder / "cases" / str(next(self.number))

    def some(self, number: int, quick: int) -> range:
        """So many, or so many in the quick form."""
        return range(quick if self.quick else number)

    def fit(self, root: Path, *options: str) -> list[str]:
        """The command that trains under ``root``."""
        return ["fit", f"--config={self.config}", f"--trainer.default_root_dir={root}", *options]

    def differs(self, root: Path) -> str | None:
        """What sets the only run under ``root`` apart from the undisturbed one."""
        if (found := sorted(path.name for path in root.glob("version_*"))) != ["version_0"]:
            return f"run folders: {found}"
        run = root / "version_0"
        if left := [str(path.relative_to(run)) for path in run.rglob("*.partial")]:
            return f"left behind: {left}"
        for part in (history, results):
            if part(run) != part(self.run):
                return f"{part.__name__} differs from that of the undisturbed run"
        return None

    def finite(self, root: Path) -> str | None:
        """Which number of the newest run under ``root`` is none."""
        for path in root.glob("version_*/*.json*"):
            if any(word in path.read_text(encoding="utf-8") for word in ("NaN", "Infinity")):
                return f"{path.name} holds numbers that are not finite"
        return None


def preload() -> None:
    """Import what the commands import, so that a process that is forked need not."""
    from swirl_lightning.commands import fit

    fit.import_worlds()
    names = ["report", *(f"trained.{name}" for name in ("export", "files", "label", "load", "rollout"))]
    names += ["commands.planned_run", *(f"environments.{world}.collect" for world in WORLDS)]
    for name in names:
        import_module(f"swirl_lightning.{name}")
    for name in EXTRAS:
        with suppress(ImportError):  # without it, what needs it says so
            import_module(name)


def history(run: Path) -> list[Any]:
    """The rows of history.jsonl, without what depends on the clock."""
    return [plain(json.loads(line)) for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def results(run: Path) -> Any:
    """The stages of results.json, likewise."""
    return plain(json.loads((run / "results.json").read_text(encoding="utf-8"))["stages"])


def plain(value: Any) -> Any:
    """A value without what depends on the clock."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items() if key not in TIMED}
    return [plain(entry) for entry in value] if isinstance(value, list) else value


def world(name: str, actions: bool) -> list[dict[str, Any]]:
    """24 transitions of a world of three things, each of which can be changed."""
    rows = []
    for n in range(2 ** len(THINGS)):
        facts = {thing: values[n >> i & 1] for i, (thing, values) in enumerate(THINGS.items())}
        for step, (thing, values) in enumerate(THINGS.items()):
            new = values[1 - values.index(facts[thing])]
            row: dict[str, Any] = {"episode": f"{name} {n}", "step": step}
            for key, its in (("state", facts), ("next_state", facts | {thing: new})):
                row[key] = "\n".join(f"{k} {v}" for k, v in its.items())
            rows.append(row | ({"action": f"make {thing} {new}"} if actions else {}))
    return rows


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_base(folder: Path, run: Path) -> None:
    """A Llama of one layer with random weights, and the tokenizer that a run has trained."""
    tokenizer = load_run(run).codec.tokenizer
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_config(path: Path, data: Path) -> None:
    """configs/debug.yaml on that world, and shorter: each phase makes three updates, every second one is saved."""
    config = yaml.safe_load(DEBUG.read_text(encoding="utf-8"))
    trainer, model = config["trainer"], config["model"]
    for stage in trainer["warmup"] + trainer["iteration"]:
        stage["updates"] = 3
    trainer |= {"enable_progress_bar": False, "log_every_n_steps": 1}
    trainer["callbacks"] = [
        {"class_path": "swirl_lightning.callbacks.PhaseCheckpoint", "init_args": {"every_n_updates": 2}}
    ]
    model["base"]["init_args"] = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 300}
    model["max_tokens"] = 128
    options = {"path": str(data), "batch_size": 4, "eval_batch_size": 4, "eval_limit": 8}
    config["data"] = {"class_path": "swirl_lightning.environments.log.LogDataModule", "init_args": options}
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
