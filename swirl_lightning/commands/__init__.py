"""The command line: ``main`` and the table of commands. What is heavy is imported by the command that needs it."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import threading
import traceback
import warnings
from importlib import import_module
from typing import NamedTuple

from swirl_lightning import __version__
from swirl_lightning.commands.menu import Menu
from swirl_lightning.commands.signals import stopped_by_signals
from swirl_lightning.ending import OURS, ending_of
from swirl_lightning.types import InputError, Stopped, printable, say


class Command(NamedTuple):
    """A command is the function of its own name in a module of this package.

    Args:
        module: the module's name.
        does: what the command does, in a line.
    """

    module: str
    does: str


COMMANDS = {
    "fit": Command("fit", "train; every key of the configuration has its --option"),
    "validate": Command("fit", "measure a checkpoint on the validation episodes"),
    "test": Command("fit", "measure a checkpoint on the test episodes"),
    "predict": Command("fit", "write what both models say of the test episodes"),
    "plan": Command("plan", "print the memory that a run needs, before anything is downloaded"),
    "collect": Command("collect", "play an engine, or watch videos, and write the transitions"),
    "label": Command("label", "let a trained run, or a person, write the actions into a state-only log"),
    "rollout": Command("rollout", "let a trained run continue a state through a list of actions"),
    "export": Command("export", "write the models of a trained run as folders that plain peft loads"),
    "judge": Command("judge", "let a language model behind an address judge written predictions"),
    "report": Command("report", "make the report of a run again from its files"),
}
MENU = Menu(
    prog="swirl",
    noun="command",
    about="Train a world model from logs of states alone, and use it.",
    entries={name: command.does for name, command in COMMANDS.items()},
    notes=(
        "'swirl --version' prints the version.",
        "Exit codes: 0 done; 1 training, or code of your own, failed, a plan does not fit, nothing was predicted, or "
        "not all was judged; 2 bad input, or a place that cannot be written to; 70 an error of swirl-lightning itself; "
        "130 and 143 stopped by Ctrl-C or SIGTERM, with a checkpoint and the command that continues.",
    ),
)


def main(args: list[str] | None = None) -> int:
    """Run a command.

    Args:
        args: the command's name and its options; None takes those of the shell, which stay in ``sys.argv``: Lightning
            starts the other processes of a run with them.

    Returns:
        The exit code: 0 done, 1 training, or code of the user's own, failed, a plan does not fit or nothing of use was
        predicted, 2 bad input, 70 an error of this package, 128 and a signal's number if that ended it.
    """
    try:
        try:
            with stopped_by_signals():
                return _main(sys.argv[1:] if args is None else args)
        finally:
            if sys.stdout:
                sys.stdout.flush()  # not when Python ends: nothing could be told of it then
    except OSError as error:  # of the output itself
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to flush goes nowhere
        if isinstance(error, BrokenPipeError):  # whoever read the output has gone, as head does
            return 128 + signal.SIGPIPE
        _tell(f"error: the output: {error.strerror or error}")
        return 2


def _main(given: list[str]) -> int:
    """The command, and whatever goes wrong in it as a line and an exit code."""
    try:
        if given[:1] == ["--version"]:
            say(f"swirl {__version__}")
            return 0
        for word in given:
            if any("\ud800" <= letter <= "\udfff" for letter in word):  # how Python reads bytes that are not UTF-8
                raise InputError(f"{word}: found bytes that are not UTF-8, expected text; give the file another name")
        name = MENU.choose(given)
        module = import_module(f"swirl_lightning.commands.{COMMANDS[name].module}")
        _quiet()  # not before the import: Lightning sets the levels of its loggers when it is imported
        code: int = getattr(module, name)(given[1:])
    except BrokenPipeError:
        raise
    except Stopped as stopped:
        if threading.current_thread() is threading.main_thread():
            signal.signal(stopped.signal, signal.SIG_DFL)  # a second one, from here on, ends the process at once
        say(f"\n{stopped}{_continued(given)}", file=sys.stderr)
        return 128 + stopped.signal
    except (Exception, SystemExit) as error:
        ending = ending_of(error)
        if isinstance(error, SystemExit) and not ending.trace:  # after a help, for example
            raise
        if ending.trace:
            say(ending.trace, file=sys.stderr)
        if ending.code != OURS:
            _tell(ending.line)
            return ending.code
        say(traceback.format_exc(), file=sys.stderr)
        say("this is an error of swirl-lightning and not of yours: please report it with the lines above",
              file=sys.stderr)  # fmt: skip
        return OURS
    return code


def _tell(line: str) -> None:
    """Say on the standard error what went wrong, in one line whatever stands in it."""
    say(printable(line, kept=""), file=sys.stderr)


class _Formatter(logging.Formatter):
    """Messages as a terminal may have them."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    """Of a thread that writes (TensorBoard's), what the system refuses is told where its work is asked for next."""
    if not isinstance(args.exc_value, OSError):
        threading.__excepthook__(args)


_format_warning = warnings.formatwarning


def _continued(args: list[str]) -> str:
    """The command that goes on with a run or a collection; nothing where there is no such command."""
    if args[:1] not in (["fit"], ["collect"]):
        return ""
    last = [] if args[0] == "collect" or "--ckpt_path=last" in args else ["--ckpt_path=last"]
    return f"; to continue: {shlex.join(['swirl', *args, *last])}"


def _quiet() -> None:
    """Leave out what a user can do nothing about, and show what the engine decides."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # where a process that Lightning has begun is killed, the one line that says why it ends the others
    logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script").setLevel(logging.INFO)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # its CPU kernels have a fallback
    own = logging.getLogger("swirl_lightning")
    own.setLevel(logging.INFO)
    own.handlers = [logging.StreamHandler()]  # on the standard error of this moment
    own.handlers[0].setFormatter(_Formatter())
    threading.excepthook = _thread_ended
    warnings.formatwarning = lambda *args, **options: printable(_format_warning(*args, **options))
    for message in (
        ".*does not have many workers.*",
        ".*in eval mode at the start of training.*",
        ".*GPU available.*",
        ".*LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", message)
