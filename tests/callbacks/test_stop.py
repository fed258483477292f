"""A run that is told to end; test_resume.py has how it goes on."""

import signal
import subprocess
import sys

import pytest

CODE = """
import os, signal
from swirl_lightning.callbacks import StopOnSignal
it = StopOnSignal()
it.on_train_start(None, None)
os.kill(os.getpid(), signal.{name})
it.teardown(None, None, "fit")  # of the run that ends: what comes now ends the process all the same
print("still here", flush=True)
os.kill(os.getpid(), signal.{name})
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_the_first_signal_is_answered_and_the_second_ends(name):
    done = subprocess.run([sys.executable, "-c", CODE.format(name=name)], capture_output=True, text=True, timeout=120)
    assert done.returncode == -getattr(signal, name)
    assert done.stdout == "still here\n"
    assert done.stderr == f"\n{name}: ending after the running update; once more ends at once\n"
