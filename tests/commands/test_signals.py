"""A command that is told to end before training: a word, the exit code, and what it began is cleared away."""

import signal
import subprocess
import sys

import pytest

COMMAND = """
import os, signal, sys, time
from swirl_lightning import commands
from swirl_lightning.commands import report
{before}
def told(args):
    try:
        {body}
        time.sleep(20)
    finally:
        print("cleared away", flush=True)
        {after}
report.report = told
sys.exit(commands.main(["report"]))
"""


def ended(body, before="", after=""):
    """A process whose command does this: exit code, output, error output."""
    code = COMMAND.format(before=before, body=body, after=after)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_is_told_and_what_was_begun_goes(name):
    code, out, err = ended(f"os.kill(os.getpid(), signal.{name})")
    assert code == 128 + getattr(signal, name)
    assert out == "cleared away\n"
    assert err == f"\nstopped by {name} before there was anything to save\n"


def test_a_second_one_ends_at_once():
    tell = "os.kill(os.getpid(), signal.SIGTERM)"
    code, out, _ = ended(tell, after=tell)
    assert (code, out) == (-signal.SIGTERM, "cleared away\n")


def test_what_is_ignored_stays_ignored():
    """As ``nohup`` asks."""
    code, _, err = ended("os.kill(os.getpid(), signal.SIGHUP); raise FloatingPointError('reached')",
                         before="signal.signal(signal.SIGHUP, signal.SIG_IGN)")  # fmt: skip
    assert code == 1
    assert "reached" in err


@pytest.mark.parametrize("swallow", ["BaseException", "Exception"])
def test_within_an_import_it_ends_there(tmp_path, swallow):
    """Where an import may catch whatever is raised in it."""
    (tmp_path / "heavy.py").write_text(
        f"import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGTERM)\nexcept {swallow}:\n    pass\n"
    )
    code, out, err = ended("import heavy", before=f"sys.path.append({str(tmp_path)!r})")
    assert (code, out) == (143, "")
    assert err == "\nstopped by SIGTERM before there was anything to save\n"
