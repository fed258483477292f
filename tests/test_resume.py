"""A fit that is killed or told to end, again and again, and continued, ends with the bits of an undisturbed one."""

import gzip
import itertools
import json
import multiprocessing
import os
import random
import signal
import sys
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch

from swirl_lightning.commands import main
from swirl_lightning.environments.textworld.datamodule import QUICKSTART

ROOT = Path(__file__).parents[1]
TIMED = ("seconds", "share_generation", "share_scoring", "share_update", "tokens_per_second")
LIMIT = 300  # seconds that one process may take
# What one run goes through, each time continued: the moment, the signal, the exit code, and where it stands then, in
# finished stages and updates of the next one. The fourth kill comes when the files of vim-1 are already written, but
# not its closing checkpoint. A run that is told to end saves first, but for in an evaluation.
ENDS = {
    "killed": (
        ("warmup 1", "SIGKILL", -9, (1, 8)),
        ("vim-1 4", "SIGKILL", -9, (2, 3)),
        ("vim-1 evaluation", "SIGKILL", -9, (2, 6)),
        ("write 1", "SIGKILL", -9, (2, 6)),
        ("write 3", "SIGKILL", -9, (3, 3)),
    ),
    "told": (
        ("warmup 1", "SIGTERM", 143, (1, 2)),
        ("vim-1 4", "SIGINT", 130, (2, 5)),
        ("vim-1 evaluation", "SIGTERM", 143, (2, 6)),
        ("elbo-1 6", "SIGHUP", 129, (3, 7)),
    ),
}


class Kill(L.Callback):
    """Sends its own process a signal.

    ``moment`` is a stage and the number of an update that has been made, or ``evaluation``: a batch of it is done. Or
    it is ``write`` and a number: so many checkpoints of this process are complete, the last of them not in its place.
    """

    def __init__(self, moment: str, signal: str) -> None:
        self.moment = moment
        self.signal = signal
        self.writes = 0

    def on_train_batch_end(self, trainer, *args):
        self._reached(f"{trainer.fit_loop.current.name} {trainer.fit_loop.update}")

    def on_validation_batch_end(self, trainer, *args):
        self._reached(f"{trainer.fit_loop.current.name} evaluation")

    def on_train_start(self, trainer, pl_module):
        move = os.replace

        def replace(source, target):
            self.writes += Path(target).suffix == ".ckpt"
            self._reached(f"write {self.writes}")
            move(source, target)

        os.replace = replace

    def _reached(self, moment):
        if moment == self.moment:
            os.kill(os.getpid(), getattr(signal, self.signal))


class Draw(L.Callback):
    """Draws from every global random stream, as dropout or a reward of one's own may do."""

    def on_train_batch_end(self, *args):
        for draw in (random.random, np.random.rand, lambda: torch.rand(())):
            draw()


def command(args):
    sys.exit(main(args))


def fit(root, data, *options):
    """``swirl fit`` in a process of its own. Returns its exit code, negative for a signal."""
    args = ["fit", f"--config={ROOT / 'configs/debug.yaml'}", f"--trainer.default_root_dir={root}"]
    args += [f"--data.root={data}", "--trainer.enable_progress_bar=false"]
    args += ["--trainer.callbacks+=test_resume.Draw"]
    args += ["--trainer.callbacks+=swirl_lightning.callbacks.PhaseCheckpoint", "--trainer.callbacks.every_n_updates=3"]
    processes = multiprocessing.get_context("forkserver")  # a server that has imported torch once: a start costs little
    processes.set_forkserver_preload(["swirl_lightning.commands.fit"])
    process = processes.Process(target=command, args=([*args, *options],))
    process.start()
    process.join(LIMIT)
    if process.is_alive():
        process.kill()
        pytest.fail(f"no end after {LIMIT} s: {options}")
    return process.exitcode


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of an undisturbed run, and its data."""
    root, data = map(tmp_path_factory.mktemp, ("undisturbed", "data"))
    for path in QUICKSTART.glob("*.jsonl.gz"):
        with gzip.open(path, "rt") as lines:
            (data / path.stem).write_text("".join(itertools.islice(lines, 400)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.syspath_prepend(str(Path(__file__).parent))  # where the process finds Kill and Draw
        assert fit(root, data) == 0
        yield root / "version_0", data


@pytest.fixture(scope="module", params=ENDS)
def runs(request, undisturbed, tmp_path_factory):
    """Folders of an undisturbed run and of one that came to all of these ends; where it stood after each."""
    whole, data = undisturbed
    root, places = tmp_path_factory.mktemp(request.param), []
    for moment, name, code, _ in ENDS[request.param]:
        options = ("--trainer.callbacks+=test_resume.Kill", f"--trainer.callbacks.moment={moment}")
        options += (f"--trainer.callbacks.signal={name}",)
        assert fit(root, data, "--ckpt_path=last", *options) == code, f"did not come to {moment!r}"
        places.append(place(root / "version_0"))
    (root / "version_0/checkpoints/last.partial").write_bytes(b"half a checkpoint")
    assert fit(root, data, "--ckpt_path=last") == 0
    return whole, root / "version_0", (places, [end[-1] for end in ENDS[request.param]])


def place(run):
    """Where last.ckpt would continue: finished stages, and updates of the next one."""
    loops = checkpoint(run)["loops"]["fit_loop"]
    updates = loops["epoch_loop.batch_progress"]["current"]["ready"]
    return loops["epoch_progress"]["current"]["processed"], updates


def checkpoint(run):
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)


def streams(saved):
    """Where the global random streams of a checkpoint are."""
    (state,) = saved["swirl"]["random_states"]
    words, *place = state["numpy"]
    return {"python": state["python"], "numpy": (words.tolist(), place), "torch": state["torch"].tolist()}


def plain(value):
    """The value without what depends on the clock."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items() if key not in TIMED}
    return [plain(entry) for entry in value] if isinstance(value, list) else value


def rows(path):
    return [plain(json.loads(line)) for line in path.read_text().splitlines()]


def test_ends_come_where_they_are_meant_to(runs):
    places, expected = runs[2]
    assert places == expected


def test_history_is_that_of_an_undisturbed_run(runs):
    undisturbed, killed, _ = runs
    history = rows(killed / "history.jsonl")
    assert len(history) == 32
    for row, expected in zip(history, rows(undisturbed / "history.jsonl"), strict=True):
        assert row == expected


def test_weights_optimisers_and_random_states_are_bit_equal(runs):
    first, second = (checkpoint(run) for run in runs[:2])
    assert first["state_dict"].keys() == second["state_dict"].keys()
    for name, tensor in first["state_dict"].items():
        assert torch.equal(tensor, second["state_dict"][name]), name
    torch.testing.assert_close(first["optimizer_states"], second["optimizer_states"], rtol=0, atol=0)
    assert streams(first) == streams(second)
    assert first["global_step"] == second["global_step"]


def test_results_and_samples_are_equal(runs):
    undisturbed, killed = (plain(json.loads((run / "results.json").read_text())) for run in runs[:2])
    assert [stage["stage"] for stage in killed["stages"]] == ["pretrain", "warmup", "vim-1", "elbo-1"]
    undisturbed["config"]["trainer"].pop("default_root_dir")
    killed["config"]["trainer"].pop("default_root_dir")
    assert killed == undisturbed
    assert rows(runs[1] / "samples.jsonl") == rows(runs[0] / "samples.jsonl")


def test_all_of_it_in_one_folder(runs):
    _, killed, _ = runs
    assert [path.name for path in killed.parent.iterdir()] == ["version_0"]
    assert not list(killed.glob("**/*.partial"))
