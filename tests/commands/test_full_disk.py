"""A full disk and a place that cannot be written to end in one line, and leave nothing half written."""

import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVER = f"{sys.executable} {ROOT / 'tests/environments/tool/fake_server.py'}"
FULL = ("File too large", "Disk quota exceeded", "No space left")


@contextmanager
def at_most(size):
    """No file grows beyond ``size`` bytes: the system refuses that as it refuses to write to a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def commands(run, state_only, tmp_path):
    """What writes, and the name of what it writes; {out} is the place."""
    (tmp_path / "state.txt").write_text("door open\nlamp on\nsafe free")
    (tmp_path / "actions.txt").write_text("dim\nbolt")
    taken = [f"--state={tmp_path / 'state.txt'}", f"--actions={tmp_path / 'actions.txt'}"]
    collect = ["collect", "tool", f"--server={SERVER} {tmp_path / 'calls.log'}", '--tools=["put"]', "--episodes=4"]
    return {
        "label": (["label", str(run), str(state_only), "--out={out}/l.jsonl"], "l.jsonl"),
        "label packed": (["label", str(run), str(state_only), "--out={out}/l.jsonl.gz"], "l."),
        "label parquet": (["label", str(run), str(state_only), "--out={out}/l.parquet"], "l."),
        "rollout": (["rollout", str(run), *taken, "--out={out}/r.jsonl"], "r.jsonl"),
        "export": (["export", str(run), "--out={out}/e"], "e"),
        "collect": ([*collect, "--out={out}/c"], "c"),
    }


NAMES = ["label", "label packed", "label parquet", "rollout", "export", "collect"]


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_one_line(name, commands, tmp_path, swirl):
    args, named = commands[name]
    if name == "collect":
        pytest.importorskip("mcp.client", reason="the extra tool is not installed")
    (tmp_path / "out").mkdir()
    with at_most(100):
        code, _, err = swirl(*[arg.format(out=tmp_path / "out") for arg in args])
    assert code == 2
    *_, line = err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'out'}/")
    assert named in line
    assert any(reason in line for reason in FULL)
    assert name == "collect" or not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("size", [1_000, 3_000, 20_000])
def test_whatever_file_of_an_export_fills_the_disk(size, commands, tmp_path, swirl):
    """Each is written by another library, which has its own way to tell it."""
    with at_most(size):
        code, _, err = swirl(*[arg.format(out=tmp_path / "out") for arg in commands["export"][0]])
    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: {tmp_path / 'out'}/")
    assert any(reason in err for reason in FULL)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_place_that_is_none_is_one_line(name, commands, tmp_path, swirl):
    (tmp_path / "file").write_text("precious")
    code, _, err = swirl(*[arg.format(out=tmp_path / "file") for arg in commands[name][0]])
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert str(tmp_path / "file") in err
    assert (tmp_path / "file").read_text() == "precious"
    assert not (tmp_path / "calls.log").exists()


def test_a_report_that_cannot_be_written_leaves_the_one_before(copy_of_run, refused):
    before = (copy_of_run / "report.html").read_bytes()
    with at_most(100):
        line = refused("report", str(copy_of_run))
    assert line.startswith(f"{copy_of_run}/report.html: ")
    assert (copy_of_run / "report.html").read_bytes() == before
    assert not list(copy_of_run.glob("*.partial"))


@pytest.mark.parametrize("size", [10, 5000, 60_000], ids=["the first file", "the configuration", "the checkpoint"])
def test_fit(size, tmp_path):
    """The whole of its standard error, threads included."""
    code = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}));"
        "from swirl_lightning.commands import main; sys.exit(main(sys.argv[1:]))"
    )
    options = [f"--config={ROOT / 'configs/debug.yaml'}", f"--trainer.default_root_dir={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-c", code, "fit", *options, "--trainer.enable_progress_bar=false"],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {tmp_path}/version_0")
    assert any(reason in line for reason in FULL)
    assert not list(tmp_path.glob("version_0/checkpoints/*"))
