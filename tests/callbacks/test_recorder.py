"""history.jsonl: a row at every update, each of them once whatever happened, and nothing of it in the checkpoint."""

import json
import shutil

import lightning as L
import pytest

from swirl_lightning.callbacks import PhaseCheckpoint, RunRecorder
from swirl_lightning.modules.schedule import Stage
from swirl_lightning.types import InputError

STAGES = (Stage("sft", updates=3), Stage("vim", updates=3))
ALL = [(name, update) for name in ("warmup", "vim") for update in range(3)]


class Watcher(L.Callback):
    """Reads history.jsonl as who watches a run does, and keeps the checkpoint of a moment."""

    def __init__(self, keep=None):
        self.seen, self.keep, self.states = [], keep, []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        path = trainer.run_dir / "history.jsonl"
        self.seen.append(len(path.read_text().splitlines()) if path.exists() else 0)
        self.states.append(next(c for c in trainer.callbacks if isinstance(c, RunRecorder)).state_dict())
        if self.keep == (trainer.fit_loop.current.name, batch_idx):
            shutil.copy(PhaseCheckpoint.path(trainer), trainer.run_dir / "kept.ckpt")


@pytest.fixture
def fit(toy_trainer, toy_swirl, toy_data):
    def run(*callbacks, folder="run", ckpt_path=None, **options):
        callbacks = [*callbacks, PhaseCheckpoint(every_n_updates=1)]
        trainer = toy_trainer(*STAGES, folder=folder, callbacks=callbacks, **options)
        trainer.fit(toy_swirl(), datamodule=toy_data(), ckpt_path=ckpt_path, weights_only=True)
        return trainer

    return run


def history(trainer):
    return [json.loads(line) for line in (trainer.run_dir / "history.jsonl").read_text().splitlines()]


def places(trainer):
    return [(row["stage"], row["update"]) for row in history(trainer)]


def test_a_watcher_sees_every_update_at_once(fit):
    watcher = Watcher()
    trainer = fit(watcher)
    assert watcher.seen == [0, 1, 2, 3, 4, 5]
    assert places(trainer) == ALL


def test_a_checkpoint_does_not_grow_with_the_updates(fit):
    watcher = Watcher()
    fit(watcher)
    sizes = {len(json.dumps(state | {"totals": 0, "place": state["place"]["stage"]})) for state in watcher.states[1:3]}
    assert len(sizes) == 1


@pytest.mark.parametrize("moment", [("warmup", 2), ("vim", 0), ("vim", 2)])
@pytest.mark.parametrize("tail", ["", '{"stage": "vim", "upd'])
def test_rows_after_the_checkpoint_are_dropped(fit, moment, tail):
    """In the same folder, whatever a kill has left there."""
    whole = fit(Watcher(keep=moment))
    expected = history(whole)
    with (whole.run_dir / "history.jsonl").open("a") as file:
        file.write(tail)
    watcher = Watcher()
    again = fit(watcher, ckpt_path=whole.run_dir / "kept.ckpt", run_version=0)
    assert again.run_dir == whole.run_dir
    assert watcher.seen[0] == ALL.index(moment)
    assert places(again) == ALL
    assert [row["loss"] for row in history(again)[3:]] == [row["loss"] for row in expected[3:]]


def test_a_run_that_begins_anew_in_its_folder_has_no_rows_of_before(fit):
    """Killed before its first checkpoint."""
    first = fit()
    watcher = Watcher()
    assert places(fit(watcher, run_version=0)) == ALL
    assert watcher.seen[0] == 0
    assert first.run_dir.exists()


def test_a_finished_run_in_another_folder_has_its_history(fit):
    whole = fit()
    other = fit(folder="other", ckpt_path=PhaseCheckpoint.path(whole))
    assert history(other) == history(whole)


def test_a_history_that_is_gone_is_told(fit, caplog):
    whole = fit(Watcher(keep=("vim", 1)))
    (whole.run_dir / "history.jsonl").unlink()
    again = fit(folder="other", ckpt_path=whole.run_dir / "kept.ckpt")
    assert "found 0 of the 4 updates before the checkpoint" in caplog.text
    assert places(again) == ALL[4:]
    # and those that are there count when it goes on once more
    last = fit(folder="third", ckpt_path=PhaseCheckpoint.path(again))
    assert places(last) == ALL[4:]


def test_a_damaged_line_is_named(fit):
    whole = fit(Watcher(keep=("vim", 1)))
    path = whole.run_dir / "history.jsonl"
    path.write_text("{\n" + path.read_text())
    with pytest.raises(InputError, match=r"history.jsonl:1: not valid JSON"):
        fit(ckpt_path=whole.run_dir / "kept.ckpt", run_version=0)
