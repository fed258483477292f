"""``swirl`` from outside, and the runs that its commands are tried on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from swirl_lightning.commands import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def swirl(capsys):
    """Runs a command: exit code, output and error output."""

    def call(*args):
        try:
            code = main(list(args))
        except SystemExit as stopped:
            code = stopped.code
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


@pytest.fixture
def refused(swirl):
    """Runs a command that is told in one line what is wrong with it; returns the line."""

    def call(*args):
        code, out, err = swirl(*args)
        assert code == 2
        assert out == ""
        assert err.startswith("error: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1
        return err.removeprefix("error: ").rstrip("\n")

    return call


@pytest.fixture
def copy_of_run(run, tmp_path):
    """The toy run, to be spoilt."""
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture(scope="session")
def debug_run(tmp_path_factory):
    """A run of configs/debug.yaml in a process of its own: its folder, its output and its error output."""
    root = tmp_path_factory.mktemp("runs")
    config = ROOT / "configs/debug.yaml"
    done = subprocess.run(
        [sys.executable, "-m", "swirl_lightning", "fit", f"--config={config}", f"--trainer.default_root_dir={root}"],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    return root / "version_0", done.stdout, done.stderr
