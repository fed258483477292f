"""When checkpoints are written, how, and what is in them."""

import lightning as L
import pytest
import torch

from swirl_lightning.callbacks import PhaseCheckpoint
from swirl_lightning.callbacks.freeze import running
from swirl_lightning.modules.schedule import Stage


class Written(L.Callback):
    """The places in the schedule that last.ckpt has held, seen at each start of an update."""

    def __init__(self):
        self.seen = []

    def look(self, trainer):
        saved = torch.load(PhaseCheckpoint.path(trainer), weights_only=True)
        progress = saved["loops"]["fit_loop"]
        place = (
            progress["epoch_progress"]["current"]["processed"],
            progress["epoch_loop.batch_progress"]["current"]["processed"],
        )
        if not self.seen or self.seen[-1] != place:
            self.seen.append(place)

    def on_train_batch_start(self, trainer, *args):
        self.look(trainer)

    def on_fit_end(self, trainer, *args):
        self.look(trainer)


@pytest.fixture
def fit(toy_trainer, toy_swirl, toy_data):
    def run(checkpoint, *callbacks, **options):
        trainer = toy_trainer(Stage("sft", updates=5), Stage("vim", updates=3), callbacks=[checkpoint, *callbacks])
        trainer.fit(toy_swirl(**options), datamodule=toy_data())
        return trainer

    return run


def test_moments(fit):
    """At the start, every so many updates within a phase, and after each phase."""
    written = Written()
    trainer = fit(PhaseCheckpoint(every_n_updates=2), written)
    assert written.seen == [(0, 0), (0, 2), (0, 4), (1, 5), (1, 2), (2, 3)]
    assert sorted(path.name for path in (trainer.run_dir / "checkpoints").iterdir()) == ["last.ckpt"]


def test_one_file_per_phase(fit):
    trainer = fit(PhaseCheckpoint(keep_phases=True))
    folder = trainer.run_dir / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["last.ckpt", "vim.ckpt", "warmup.ckpt"]
    last, vim, warmup = (torch.load(folder / f"{n}.ckpt", weights_only=True) for n in ("last", "vim", "warmup"))
    for key, value in last["state_dict"].items():
        assert torch.equal(value, vim["state_dict"][key])
    assert any(not torch.equal(value, vim["state_dict"][key]) for key, value in warmup["state_dict"].items())


def test_a_failed_write_leaves_the_last_one_whole(fit, monkeypatch):
    """As a kill in the middle of writing: the file beside it is torn, last.ckpt is not."""
    original, writes = L.Trainer.save_checkpoint, []

    def torn(self, path, *args, **kwargs):
        writes.append(path)
        if len(writes) == 3:
            path.write_bytes(b"torn")
            raise KeyboardInterrupt
        return original(self, path, *args, **kwargs)

    monkeypatch.setattr(L.Trainer, "save_checkpoint", torn)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(PhaseCheckpoint(every_n_updates=2))
    folder = writes[0].parent
    assert (folder / "last.partial").read_bytes() == b"torn"
    saved = torch.load(folder / "last.ckpt", weights_only=True)
    assert saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["processed"] == 2


def test_adapters_alone_are_saved(fit):
    trainer = fit(PhaseCheckpoint(), lora=True)
    saved = torch.load(PhaseCheckpoint.path(trainer), weights_only=True)["state_dict"]
    assert {key.split("/")[0] for key in saved} == {"fwm", "idm", "reference"}
    assert all("lora_" in key for key in saved)


def test_micro_batches_of_a_resumed_run_are_those_it_began_with(fit, ready_swirl):
    """``auto`` takes what is free, which may differ; an explicit number is the user's to change."""
    trainer = fit(PhaseCheckpoint(), micro_batch=3)
    saved = torch.load(PhaseCheckpoint.path(trainer), weights_only=True)
    for chosen, expected in (("auto", 3), (5, 5)):
        model, _ = ready_swirl(micro_batch=chosen)
        model.on_load_checkpoint(saved)
        assert {tuple(p.sizes) for r in (model.fwm, model.idm) for p in (r.policy, r.reference)} == {(expected,) * 3}


def test_callbacks_need_this_trainer_and_module(toy_trainer, toy_swirl):
    with pytest.raises(TypeError, match="SWIRL module under a SwirlTrainer, got SWIRL under Trainer"):
        running(L.Trainer(logger=False, accelerator="cpu"), toy_swirl())
    with pytest.raises(TypeError, match="got LightningModule under SwirlTrainer"):
        running(toy_trainer("sft"), L.LightningModule())
