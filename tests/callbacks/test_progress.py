"""The bar: by time, with reward and time left after the first update, after a resume too."""

import re
import shutil
from types import SimpleNamespace

import lightning as L
import pytest

from swirl_lightning.callbacks import PhaseCheckpoint, PhaseProgress, progress
from swirl_lightning.modules.schedule import Stage
from swirl_lightning.types import InputError

SHOWN = re.compile(r"(\w+): +\d+%\|[^|]*\| (\d+)/(\d+) \[\d\d:\d\d<([\d:?]+), ([^\]]*)\]")


class Keep(L.Callback):
    """Keeps the checkpoint that an update finds."""

    def __init__(self, update):
        self.update = update

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.fit_loop.current.name == "vim" and batch_idx == self.update:
            shutil.copy(PhaseCheckpoint.path(trainer), trainer.run_dir / "kept.ckpt")


@pytest.fixture
def bars(toy_trainer, toy_swirl, toy_data, monkeypatch, capsys):
    """What is shown of a run whose updates take so many seconds: stage, update, of how many, time left, figures."""

    def run(seconds, *callbacks, ckpt_path=None, **options):
        clock = iter(range(10_000))
        monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: 1000 + next(clock) * seconds))
        stages = (Stage("sft", updates=4), Stage("vim", updates=6))
        trainer = toy_trainer(
            *stages, enable_progress_bar=True, callbacks=[*callbacks, PhaseCheckpoint(every_n_updates=1)], **options
        )
        capsys.readouterr()
        trainer.fit(toy_swirl(), datamodule=toy_data(), ckpt_path=ckpt_path, weights_only=True)
        return trainer, [match.groups() for match in SHOWN.finditer(capsys.readouterr().out)]

    return run


def updates(shown, stage):
    return sorted({int(update) for name, update, *_ in shown if name == stage})


def test_slow_updates_show_at_once(bars):
    _, shown = bars(30)
    assert updates(shown, "warmup") == [0, 1, 2, 3, 4]
    assert updates(shown, "vim") == [0, 1, 2, 3, 4, 5, 6]
    first = [bar for bar in shown if bar[:2] == ("vim", "1")][-1]
    assert first[2] == "6"
    assert "?" not in first[3]
    assert "reward=-" in first[4]


def test_fast_updates_show_together(bars):
    _, shown = bars(0.2)
    assert updates(shown, "vim") == [0, 1, 4, 6]  # at once, after half a second, and the last one
    _, shown = bars(0.2, PhaseProgress(seconds=100))
    assert updates(shown, "vim") == [0, 1, 6]


def test_after_a_resume_the_bar_has_its_name_total_and_time(bars):
    trainer, _ = bars(30, Keep(3))
    _, shown = bars(30, ckpt_path=trainer.run_dir / "kept.ckpt")
    assert updates(shown, "vim") == [3, 4, 5, 6]
    assert {total for name, _, total, *_ in shown} == {"6"}
    first = [bar for bar in shown if bar[:2] == ("vim", "4")][-1]
    assert "?" not in first[3]
    assert "reward=-" in first[4]


def test_seconds_are_checked():
    with pytest.raises(InputError, match="PhaseProgress.seconds"):
        PhaseProgress(seconds=float("nan"))
