"""The schedule, the loop that runs it, and what the loop takes for granted of Lightning's private parts."""

import inspect

import lightning as L
import pytest
from lightning.pytorch.loops.fit_loop import _FitLoop

from swirl_lightning.loops import AlternatingLoop
from swirl_lightning.modules.schedule import Stage, expand_schedule
from swirl_lightning.types import InputError


def names(*arguments):
    return [stage.name for stage in expand_schedule(*arguments)]


def test_names():
    warmup = [Stage("pretrain"), Stage("sft")]
    assert names(warmup, [Stage("vim"), Stage("elbo")], 2) == [
        "pretrain", "warmup", "vim-1", "elbo-1", "vim-2", "elbo-2",
    ]  # fmt: skip
    assert names([Stage("sft"), Stage("sft")], [], 5) == ["warmup", "warmupb"]
    assert names([], [Stage("vim"), Stage("sft"), Stage("vim"), Stage("vim")], 1) == [
        "vim-1",
        "sft-1",
        "vim-1b",
        "vim-1c",
    ]
    assert names([Stage("bootstrap")], [Stage("bootstrap")], 1) == ["bootstrap", "bootstrap-1"]


def test_stages_and_iterations():
    vim, elbo, sft = Stage("vim", updates=3), Stage("elbo", learning_rate=0.1), Stage("sft")
    schedule = expand_schedule([sft], [vim, elbo], 2)
    assert [entry.stage for entry in schedule] == [sft, vim, elbo, vim, elbo]
    assert [entry.iteration for entry in schedule] == [0, 1, 1, 2, 2]


@pytest.mark.parametrize("arguments", [([], [], 3), ([], [Stage("vim")], 0)])
def test_nothing_to_train(arguments):
    with pytest.raises(InputError, match="no stage"):
        expand_schedule(*arguments)


class Diary(L.Callback):
    """Where the loop says it is at each hook."""

    def __init__(self):
        self.updates, self.ends, self.evaluations, self.lengths = [], [], [], []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        loop = trainer.fit_loop
        assert loop.update == batch_idx
        self.updates.append((loop.index, loop.current.name, batch_idx, len(batch)))
        self.lengths.append(loop.updates)

    def on_train_epoch_end(self, trainer, module):
        self.ends.append(trainer.fit_loop.finished.name)

    def on_validation_end(self, trainer, module):
        self.evaluations.append(trainer.fit_loop.current.name)


def test_stages_run_in_order_with_their_updates(toy_swirl, toy_data, toy_trainer):
    diary = Diary()
    iteration = [Stage("vim", updates=1, batch_size=5), Stage("elbo")]  # a null is one pass: 12 pairs, 3 at a time
    trainer = toy_trainer(
        Stage("sft", updates=3), iteration=iteration, iterations=2, callbacks=[diary], limit_val_batches=1.0
    )
    trainer.fit(toy_swirl(), datamodule=toy_data())
    expected = [(0, "warmup", u, 3) for u in range(3)]
    for i, turn in enumerate((1, 2)):
        expected += [(1 + 2 * i, f"vim-{turn}", 0, 5)] + [(2 + 2 * i, f"elbo-{turn}", u, 3) for u in range(4)]
    assert diary.updates == expected
    assert diary.lengths == [3] * 3 + [1] + [4] * 4 + [1] + [4] * 4
    order = ["warmup", "vim-1", "elbo-1", "vim-2", "elbo-2"]
    assert diary.ends == order
    assert diary.evaluations == order  # one evaluation a stage, while it is still the current one
    assert trainer.global_step == 3 * 2 + 1 + 4 + 1 + 4  # optimiser steps: both roles in the warm-up


def test_batches_of_a_stage_differ_from_another_visit(toy_swirl, toy_data, toy_trainer):
    """Each place in the schedule has an order of its own."""
    seen = {}

    class Keep(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            seen.setdefault(trainer.fit_loop.current.name, []).extend(batch.pairs)

    trainer = toy_trainer(iteration=[Stage("vim")], iterations=2, callbacks=[Keep()])
    trainer.fit(toy_swirl(), datamodule=(data := toy_data()))
    assert set(seen["vim-1"]) == set(seen["vim-2"]) == set(data.state_only)
    assert seen["vim-1"] != seen["vim-2"]


# ---- the contract with lightning 2.6


def test_lightning_still_has_what_the_loop_overrides():
    """A new Lightning that moves one of these must fail here, and not train the wrong phase in silence."""
    assert issubclass(AlternatingLoop, _FitLoop)
    assert list(inspect.signature(_FitLoop.__init__).parameters) == ["self", "trainer", "min_epochs", "max_epochs"]
    assert list(inspect.signature(_FitLoop.setup_data).parameters) == ["self"]
    source = inspect.getsource(_FitLoop.setup_data)
    assert "if self._combined_loader is not None and not self._should_reload_train_dl:" in source
    assert "self.max_batches = " in source
    # loaders are set up anew at the start of each epoch, before the first batch is fetched
    assert "self.setup_data()" in inspect.getsource(_FitLoop.on_advance_start)


def test_counters_of_a_stock_run(toy_trainer, toy_swirl, toy_data):
    trainer = toy_trainer("sft", "vim")
    loop = trainer.fit_loop
    assert (loop.epoch_progress.current.processed, loop.max_epochs, loop._combined_loader) == (0, 2, None)
    assert (loop.index, loop.update) == (0, 0)
    trainer.fit(toy_swirl(), datamodule=toy_data())
    assert loop.epoch_progress.current.processed == 2
    assert loop.epoch_loop.batch_progress.current.ready == 2
    assert loop.max_batches == 2
    assert (loop.index, loop.current.name, loop.finished.name) == (1, "vim", "vim")
