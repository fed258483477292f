"""What is shown while a run goes on: the bar by the clock, the history by the update, both after a resume."""

import json

import lightning as L
import pytest

from swirl_lightning.callbacks import PhaseCheckpoint, PhaseProgress, RunRecorder
from swirl_lightning.callbacks import progress as module
from swirl_lightning.modules.schedule import Stage
from swirl_lightning.types import InputError


class Shown(PhaseProgress):
    """A bar that also keeps what it shows after every update."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seen = []

    def on_train_batch_end(self, *args):
        super().on_train_batch_end(*args)
        bar = self.train_progress_bar
        self.seen.append((bar.n, bar.total, bar.desc.strip(": "), bar.postfix or ""))


@pytest.fixture
def clock(monkeypatch):
    """The time, which only a test lets pass."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


class Passes(L.Callback):
    """Lets so many seconds pass with every update."""

    def __init__(self, now, seconds):
        self.now, self.seconds = now, seconds

    def on_train_batch_start(self, *args):
        self.now[0] += self.seconds


def shown(toy_trainer, toy_swirl, toy_data, clock, seconds, updates):
    bar = Shown()
    trainer = toy_trainer(
        Stage("vim", updates=updates), callbacks=[Passes(clock, seconds), bar], enable_progress_bar=True
    )
    trainer.fit(toy_swirl(), datamodule=toy_data())
    return bar.seen


def test_slow_updates_are_shown_at_once(toy_trainer, toy_swirl, toy_data, clock):
    seen = shown(toy_trainer, toy_swirl, toy_data, clock, 30, 3)
    assert [(n, total, name) for n, total, name, _ in seen] == [(1, 3, "vim"), (2, 3, "vim"), (3, 3, "vim")]
    assert all("reward=" in figures and "kl=" in figures for *_, figures in seen)


def test_quick_updates_are_shown_by_the_clock(toy_trainer, toy_swirl, toy_data, clock):
    seen = shown(toy_trainer, toy_swirl, toy_data, clock, 0.2, 8)
    assert [n for n, *_ in seen] == [1, 1, 1, 4, 4, 4, 7, 8]  # the last of a phase always


def test_after_a_resume_the_bar_has_its_total(toy_trainer, toy_swirl, toy_data, clock):
    class Stop(L.Callback):
        def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
            if batch_idx == 1:
                raise KeyError("stopped")

    stages, keep = Stage("vim", updates=5), PhaseCheckpoint(every_n_updates=1)
    trainer = toy_trainer(stages, callbacks=[keep])
    trainer.callbacks.append(Stop())  # after the checkpoint
    with pytest.raises(KeyError):
        trainer.fit(toy_swirl(), datamodule=toy_data())
    history = trainer.run_dir / "history.jsonl"
    assert [json.loads(line)["update"] for line in history.read_text().splitlines()] == [0, 1]  # at once
    with history.open("a") as file:
        file.write('{"stage": "vim", "update": 2}\n{"stage"')  # what a killed run wrote after its checkpoint
    bar = Shown()
    resumed = toy_trainer(stages, callbacks=[PhaseCheckpoint(), bar], enable_progress_bar=True, run_version=0)
    resumed.fit(toy_swirl(), datamodule=toy_data(), ckpt_path=PhaseCheckpoint.path(trainer), weights_only=True)
    assert [(n, total) for n, total, *_ in bar.seen] == [(3, 5), (3, 5), (5, 5)]
    assert bar.seen[0][2] == "vim"
    assert bar.train_progress_bar.initial == 2  # time left is told by the updates of this process
    assert [json.loads(line)["update"] for line in history.read_text().splitlines()] == [0, 1, 2, 3, 4]


def test_a_row_of_history_after_every_update(toy_trainer, toy_swirl, toy_data):
    """Before the stage ends, with all of the update's figures."""
    lengths = []

    class Count(L.Callback):
        def on_train_batch_end(self, trainer, *args):
            lengths.append(len((trainer.run_dir / "history.jsonl").read_text().splitlines()))

    trainer = toy_trainer(Stage("sft", updates=2), Stage("vim", updates=2))
    trainer.callbacks.append(Count())
    trainer.fit(toy_swirl(), datamodule=toy_data())
    assert lengths == [1, 2, 3, 4]
    recorder = next(c for c in trainer.callbacks if isinstance(c, RunRecorder))
    assert list(map(json.loads, (trainer.run_dir / "history.jsonl").read_text().splitlines())) == recorder.history


def test_seconds_are_checked():
    with pytest.raises(InputError, match=r"PhaseProgress\.seconds: found -1, expected at least 0"):
        PhaseProgress(seconds=-1)
