"""A run goes on from a file written at any moment to the bits of an undisturbed one, or says why it cannot."""

import json

import pytest
import torch
from lightning.pytorch.callbacks import Checkpoint

from swirl_lightning.modules.schedule import Stage
from swirl_lightning.types import InputError

NAMES = {"pretrain": "pretrain", "sft": "warmup", "vim": "vim"}
UPDATES = 3
TIMES = ("tokens_per_second", "share_generation", "share_scoring", "share_update", "seconds")


class Everywhere(Checkpoint):
    """Writes a file at every hook of a stage, as ``ModelCheckpoint`` does at some and a signal may at any."""

    def __init__(self, folder):
        self.folder = folder

    def _save(self, trainer, *moment):
        name = "-".join(map(str, (trainer.fit_loop.current.name, *moment)))
        trainer.save_checkpoint(self.folder / f"{name}.ckpt")

    def on_train_epoch_start(self, trainer, module):
        self._save(trainer, "start")

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self._save(trainer, "before", batch_idx)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self._save(trainer, "after", batch_idx)

    def on_validation_start(self, trainer, module):
        self._save(trainer, "evaluation-start")

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        self._save(trainer, "evaluation", dataloader_idx)

    def on_validation_end(self, trainer, module):
        self._save(trainer, "evaluation-end")

    def on_train_epoch_end(self, trainer, module):
        trainer.save_checkpoint(self.folder / f"{trainer.fit_loop.finished.name}-end.ckpt")


MOMENTS = [
    "start", *(f"{word}-{update}" for word in ("before", "after") for update in range(UPDATES)),
    "evaluation-start", "evaluation-0", "evaluation-1", "evaluation-end", "end",
]  # fmt: skip


def run(toy_trainer, model, data, folder, *callbacks, ckpt_path=None):
    stages = [Stage(phase, updates=UPDATES) for phase in NAMES]
    trainer = toy_trainer(*stages, folder=folder, limit_val_batches=1.0, callbacks=callbacks)
    trainer.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def outcome(trainer, model):
    """Weights, optimisers, steps and files, without times."""
    weights = {key: value.clone() for key, value in model.weights.tensors().items()}
    moments = [[v.clone() for state in o.state.values() for v in state.values()] for o in trainer.optimizers]
    rows = [json.loads(row) for name in ("history", "samples")
            for row in (trainer.run_dir / f"{name}.jsonl").read_text().splitlines()]  # fmt: skip
    rows += json.loads((trainer.run_dir / "results.json").read_text())["stages"]
    steps = trainer.global_step, trainer.fit_loop.epoch_loop._batches_that_stepped
    return weights, moments, [{k: v for k, v in row.items() if k not in TIMES} for row in rows], steps


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder of the files, and the outcome of the undisturbed run that wrote them."""
    return tmp_path_factory.mktemp("files"), {}


@pytest.fixture
def whole(kept, toy_trainer, toy_swirl, toy_data):
    folder, outcomes = kept
    if not outcomes:
        model = toy_swirl()
        trainer = run(toy_trainer, model, toy_data(), "whole", Everywhere(folder))
        outcomes["whole"] = outcome(trainer, model)
    return folder, outcomes["whole"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("stage", NAMES.values())
def test_any_moment(stage, moment, whole, toy_trainer, toy_swirl, toy_data):
    folder, expected = whole
    model = toy_swirl(weights_seed=99)
    trainer = run(toy_trainer, model, toy_data(), "resumed", ckpt_path=folder / f"{stage}-{moment}.ckpt")
    weights, moments, rows, steps = outcome(trainer, model)
    assert rows == expected[2]
    assert [row["stage"] for row in rows[-len(NAMES) :]] == list(NAMES.values())
    assert steps == expected[3]
    assert all(torch.equal(value, expected[0][key]) for key, value in weights.items())
    for ours, theirs in zip(moments, expected[1], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_resumed_twice(whole, toy_trainer, toy_swirl, toy_data, tmp_path):
    """Counters are right after a resume too: the next file is as good as the first."""
    folder, expected = whole
    for first, second in (("warmup-before-1", "warmup-after-1"), ("pretrain-after-2", "vim-before-2")):
        target = tmp_path / first
        target.mkdir()
        run(toy_trainer, toy_swirl(), toy_data(), f"{first}-a", Everywhere(target), ckpt_path=folder / f"{first}.ckpt")
        model = toy_swirl(weights_seed=99)
        trainer = run(toy_trainer, model, toy_data(), f"{first}-b", ckpt_path=target / f"{second}.ckpt")
        weights, _, rows, steps = outcome(trainer, model)
        assert rows == expected[2]
        assert steps == expected[3]
        assert all(torch.equal(value, expected[0][key]) for key, value in weights.items())


@pytest.mark.parametrize("update", [0, 1, 2])
def test_the_middle_of_an_update_is_refused(update, toy_trainer, toy_swirl, toy_data, tmp_path):
    """As SLURM's requeue signal writes it, whenever it comes: one role may have learned and the other not."""
    model = toy_swirl()
    step = model.updates.step
    path = tmp_path / "torn.ckpt"

    def torn(role, loss):
        norm = step(role, loss)
        if (model.updates.place.name, model.updates.place.update, role.role) == ("warmup", update, "fwm"):
            trainer.save_checkpoint(path)
        return norm

    model.updates.step = torn
    trainer = toy_trainer("sft", "vim", updates=3)
    trainer.fit(model, datamodule=toy_data())
    with pytest.raises(InputError, match=rf"in the middle of update {update} of warmup.*last\.ckpt"):
        toy_trainer("sft", "vim", updates=3).fit(toy_swirl(), datamodule=toy_data(), ckpt_path=path, weights_only=True)
