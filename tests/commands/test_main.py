"""The table of commands, their help, and what ``main`` makes of errors."""

import signal
import subprocess
import sys
from importlib import import_module

import pytest

from swirl_lightning import __version__, commands
from swirl_lightning.commands import COMMANDS, main
from swirl_lightning.commands.collect import WORLDS
from swirl_lightning.types import InputError, Stopped

LIGHT = [
    ["--help"], ["--version"], [], ["dance"], ["plan", "--help"], ["collect", "--help"], ["report", "--help"],
    ["label", "--help"], ["rollout", "--help"], ["export", "--help"], *(["collect", w, "--help"] for w in WORLDS),
]  # fmt: skip
HEAVY = {"torch", "lightning", "pytorch_lightning", "transformers", "datasets"}


@pytest.mark.parametrize("args", LIGHT, ids=" ".join)
def test_help_does_not_wait_for_what_is_heavy(args):
    code = (
        "import sys\n"
        "from swirl_lightning.commands import main\n"
        "try:\n"
        f"    main({args!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize("args", [["--help"], ["-h"]])
def test_help_lists_every_command(swirl, args):
    code, out, _ = swirl(*args)
    assert code == 0
    listed = dict(line.split(maxsplit=1) for line in out.splitlines() if line.startswith("  "))
    assert listed == {name: command.does for name, command in COMMANDS.items()}
    assert "Exit codes: 0 done; 1 " in out


def test_version(swirl):
    assert swirl("--version") == (0, f"swirl {__version__}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_a_function_of_its_name(name):
    module = import_module(f"swirl_lightning.commands.{COMMANDS[name].module}")
    assert callable(getattr(module, name))


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "collect"])
def test_every_command_explains_its_options(swirl, name):
    code, out, _ = swirl(name, "--help")
    assert code == 0
    assert out.startswith(f"usage: swirl {name} ")
    assert "<class" not in out
    assert "``" not in out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "swirl: expected a command (fit, validate, "),
        (["dance"], "swirl: no such command: dance (fit, validate, "),
        (["fti"], "swirl: no such command: fti; did you mean fit? (fit, "),
        (["exprot"], "did you mean export?"),
        (["--config", "x.yaml", "fit"], "swirl: no such command: --config"),
    ],
)
def test_a_wrong_command_is_told_what_there_is(refused, args, said):
    assert said in refused(*args)


def fails_with(error, cause=None):
    """Stands for a command that fails."""

    def command(args):
        raise error from cause

    return command


@pytest.fixture
def report(monkeypatch):
    """Puts a function in the place of ``swirl report``."""
    module = import_module("swirl_lightning.commands.report")
    return lambda function: monkeypatch.setattr(module, "report", function)


def test_exit_codes(swirl, report):
    report(lambda args: 1)
    assert swirl("report") == (1, "", "")
    report(fails_with(InputError("x: found 1, expected 2")))
    assert swirl("report") == (2, "", "error: x: found 1, expected 2\n")
    report(fails_with(FloatingPointError("the gradient is nan")))
    assert swirl("report") == (1, "", "training stopped: the gradient is nan\n")


def test_a_users_error_is_found_where_another_wraps_it(swirl, report):
    report(fails_with(ValueError("of jsonargparse"), ValueError("again")))
    with pytest.raises(ValueError, match="of jsonargparse"):
        swirl("report")
    wrapped = ValueError("again")
    wrapped.__cause__ = InputError("what the user can mend")
    report(fails_with(ValueError("of jsonargparse"), wrapped))
    assert swirl("report") == (2, "", "error: what the user can mend\n")


def test_the_arguments_of_the_shell_are_taken_and_stay(swirl, capsys, monkeypatch):
    """Lightning starts the other processes of a run with them."""
    given = ["swirl", "report", "/nowhere"]
    monkeypatch.setattr(sys, "argv", list(given))
    assert commands.main() == 2
    assert "/nowhere/results.json: not found" in capsys.readouterr().err
    assert sys.argv == given


def test_python_m(tmp_path):
    done = subprocess.run([sys.executable, "-m", "swirl_lightning", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"swirl {__version__}\n")


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (
            Stopped(signal.SIGTERM, "after update 3 of 8 of vim-1"),
            143,
            "stopped by SIGTERM after update 3 of 8 of vim-1; to continue: swirl fit --config 'my run.yaml' "
            "--ckpt_path=last",
        ),
        (KeyboardInterrupt(), 130, "stopped by SIGINT before there was anything to save"),
    ],
)  # fmt: skip
def test_a_signal_is_told_with_what_continues(monkeypatch, capsys, raised, code, line):
    def stopped(args):
        raise raised

    monkeypatch.setattr("swirl_lightning.commands.fit.fit", stopped)
    assert main(["fit", "--config", "my run.yaml"]) == code
    assert capsys.readouterr().err == line + "\n"
