"""The table of commands, their help, and what ``main`` makes of errors."""

import itertools
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from swirl_lightning import __version__, commands
from swirl_lightning.commands import COMMANDS, main
from swirl_lightning.commands.collect import WORLDS
from swirl_lightning.trained.aliases import check_aliases
from swirl_lightning.types import InputError, Stopped

CONFIG = Path(__file__).parents[2] / "configs/debug.yaml"
LIGHT = [
    ["--help"], ["--version"], [], ["dance"], ["plan", "--help"], ["collect", "--help"], ["report", "--help"],
    ["label", "--help"], ["rollout", "--help"], ["export", "--help"], *(["collect", w, "--help"] for w in WORLDS),
]  # fmt: skip
HEAVY = {"torch", "lightning", "pytorch_lightning", "transformers", "datasets"}


MALFORMED = {
    "model.fwm.learning_rate: found null": "--model.fwm.init_args.learning_rate=null",
    "model.idm.max_new_tokens: found null": "--model.idm.init_args.max_new_tokens=null",
    "data.batch_size: found null": "--data.init_args.batch_size=null",
    "found 1000000000000000000000": "--model.fwm.init_args.grpo.group_size=1000000000000000000000",
    "layout.start: found null, expected str": "--model.layout.start=null",
    "error: trainer: `devices`": "--trainer.devices=-1",
    "invalid accelerator name": "--trainer.accelerator=zzz",
    "found bytes that are not UTF-8": "--trainer.default_root_dir=\udcff",
}


@pytest.mark.parametrize(("words", "option"), MALFORMED.items(), ids=list(MALFORMED))
def test_a_malformed_option_is_one_line(words, option, tmp_path, capsys):
    """No traceback: null where a number must be, numbers beyond all sizes, what Lightning refuses, odd bytes."""
    root = f"--trainer.default_root_dir={tmp_path}"
    assert main(["fit", f"--config={CONFIG}", root, option]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert words in errors[-1]
    assert errors[-1].startswith("error: ")
    assert "Traceback" not in "".join(errors)


@pytest.mark.parametrize("command", ["plan", "fit"])
def test_help_that_cannot_be_printed_is_told(command):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "swirl_lightning", command, "--help"], stdout=full, stderr=subprocess.PIPE,
            text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 2
    assert "No space left" in done.stderr


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
    """Stands for a command that fails, in a file of this package: what a user's own code raises is told otherwise."""
    names = {"error": error, "cause": cause}
    exec(compile("def command(args):\n    raise error from cause\n", commands.__file__, "exec"), names)
    return names["command"]


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


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB\nof many"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_no_memory_is_one_line_with_a_cure(swirl, report, error):
    report(fails_with(error))
    code, out, err = swirl("report")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: out of memory")
    assert "--model.micro_batch=1" in err


def test_memory_that_torch_could_not_get(swirl, report):
    """As torch says it of the processor's."""

    def command(args):
        return torch.empty(2**60)

    report(command)
    assert swirl("report")[0] == 2


def test_an_error_that_only_speaks_of_a_connection_is_ours(swirl, report, capsys):
    report(fails_with(RuntimeError("Connection closed by peer")))
    assert commands.main(["report"]) == 70


def test_a_users_error_is_found_where_another_wraps_it(swirl, report, capsys):
    report(fails_with(ValueError("of jsonargparse"), ValueError("again")))
    assert commands.main(["report"]) == 70
    assert "ValueError: of jsonargparse" in capsys.readouterr().err
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
            Stopped(signal.SIGINT, "after update 3 of 8 of vim-1"),
            130,
            "stopped by SIGINT after update 3 of 8 of vim-1; to continue: swirl fit --config 'my run.yaml' "
            "--ckpt_path=last",
        ),
    ],
)  # fmt: skip
def test_a_signal_is_told_with_what_continues(monkeypatch, capsys, raised, code, line):
    def stopped(args):
        raise raised

    monkeypatch.setattr("swirl_lightning.commands.fit.fit", stopped)
    before = signal.getsignal(raised.signal)
    try:
        assert main(["fit", "--config", "my run.yaml"]) == code
        assert signal.getsignal(raised.signal) == signal.SIG_DFL  # a second one ends the process, without a traceback
    finally:
        signal.signal(raised.signal, before)
    assert capsys.readouterr().err.strip() == line


def raising(monkeypatch, error):
    """``swirl fit`` meets this error."""

    monkeypatch.setattr("swirl_lightning.commands.fit.fit", fails_with(error))
    return main(["fit"])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "/runs"), "error: /runs: Permission denied"),
        (OSError(28, "No space left on device"), "error: the system: No space left on device"),
        (OSError(30, "Read-only file system", "a/b"), "error: a/b: Read-only file system"),
    ],
)
def test_what_the_system_refuses_is_one_line(monkeypatch, capsys, error, line):
    assert raising(monkeypatch, error) == 2
    assert capsys.readouterr().err == line + "\n"


def test_an_error_of_a_lightning_callback_is_one_line(monkeypatch, capsys):
    """Of a callback that cannot do what its options say."""

    def fail(args):
        EarlyStopping("nothing")._validate_condition_metric({"loss": torch.zeros(1)})

    monkeypatch.setattr("swirl_lightning.commands.fit.fit", fail)
    assert main(["fit"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: trainer.callbacks: Early stopping conditioned on metric `nothing`")
    assert err.count("\n") == 1


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), ValueError("oops"), RuntimeError("oops")])
def test_an_error_of_our_own_has_its_traceback_and_says_so(monkeypatch, capsys, error):
    assert raising(monkeypatch, error) == 70
    *trace, last = capsys.readouterr().err.splitlines()
    assert trace[0].startswith("Traceback")
    assert last == "this is an error of swirl-lightning and not of yours: please report it with the lines above"


def test_whoever_reads_the_output_may_go():
    code = "import sys; from swirl_lightning.commands import main; sys.exit(main(['--help']))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-u", "-c", code], stdout=write, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 141
    assert done.stderr == b""


BOMB = "a: &a [1, 1]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (BOMB, "values with aliases written out"),
        ("a: &a {b: *a}\n", "an alias within what it names"),
        ("a: &a [[1, *a]]\n", "an alias within what it names"),
    ],
    ids=["many", "itself", "itself, deeper"],
)
@pytest.mark.parametrize("command", ["fit", "plan", "collect"])
def test_aliases_without_an_end_are_refused(tmp_path, capsys, command, text, found):
    (tmp_path / "c.yaml").write_text(text)
    assert main([command, *(["textworld"] if command == "collect" else []), f"--config={tmp_path / 'c.yaml'}"]) == 2
    err = capsys.readouterr().err
    assert found in err
    assert err.count("\n") == 1


def test_aliases_of_the_shipped_configurations_pass():
    for path in Path(__file__).parents[2].glob("configs/*.yaml"):
        check_aliases(path)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_is_one_of_numpy(refused, seed):
    assert "--seed_everything: found" in refused("fit", f"--config={CONFIG}", f"--seed_everything={seed}")
