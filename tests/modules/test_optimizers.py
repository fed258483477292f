"""The optimisers by name: what they do, that they continue from a checkpoint to the bit, and that they forget."""

import io
import shutil

import lightning as L
import pytest
import torch
from torch import nn

from swirl_lightning.callbacks import PhaseCheckpoint
from swirl_lightning.models.optimizers import OptimizerOptions, forget
from swirl_lightning.types import InputError

NAMES = ("adamw", "adamw_8bit")
SHAPES = ((16, 512), (64, 16), (3000,))  # moments of small tensors keep 32 bits


def make_optimizer(name, its, learning_rate, weight_decay):
    return OptimizerOptions(name, weight_decay).make(its, learning_rate)


def parameters(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter((torch.randn(shape, generator=generator) / 20).to(dtype)) for shape in SHAPES]


def step(optimizer, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in optimizer.param_groups[0]["params"]:
        p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)
    optimizer.step()


@pytest.mark.parametrize("name", NAMES)
def test_it_is_adamw(name):
    """Decoupled weight decay and all; with 8 bits nearly."""
    ours, theirs = parameters(), parameters()
    one = make_optimizer(name, ours, 1e-3, 0.1)
    other = torch.optim.AdamW(theirs, 1e-3, weight_decay=0.1)
    for seed in range(5):
        step(one, seed)
        step(other, seed)
    start = parameters()
    for p, q, first in zip(ours, theirs, start, strict=True):
        assert (p - q).norm() < 0.05 * (q - first).norm()


def test_moments_of_8_bits():
    optimizer = make_optimizer("adamw_8bit", parameters(), 1e-3, 0.0)
    step(optimizer, 0)
    large, *small = optimizer.state.values()
    assert large["state1"].dtype == large["state2"].dtype == torch.uint8
    assert all(state["state1"].dtype == torch.float32 for state in small)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_continued_from_a_file_to_the_bit(name, dtype):
    undisturbed = make_optimizer(name, parameters(dtype), 1e-3, 0.01)
    for seed in range(3):
        step(undisturbed, seed)
    file = io.BytesIO()
    values = [p.detach() for p in undisturbed.param_groups[0]["params"]]
    torch.save((undisturbed.state_dict(), values), file)
    file.seek(0)
    state, values = torch.load(file, weights_only=True)
    resumed = make_optimizer(name, [nn.Parameter(v) for v in values], 0.5, 0.5)
    resumed.load_state_dict(state)
    for seed in range(3, 6):
        step(undisturbed, seed)
        step(resumed, seed)
    for p, q in zip(undisturbed.param_groups[0]["params"], resumed.param_groups[0]["params"], strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("name", NAMES)
def test_forgotten_moments_are_those_of_a_new_optimiser(name):
    used = make_optimizer(name, parameters(), 1e-3, 0.0)
    step(used, 0)
    fresh = make_optimizer(name, [nn.Parameter(p.detach().clone()) for p in used.param_groups[0]["params"]], 1e-3, 0.0)
    forget(used)
    assert not used.state
    for seed in (1, 2):
        step(used, seed)
        step(fresh, seed)
    for p, q in zip(used.param_groups[0]["params"], fresh.param_groups[0]["params"], strict=True):
        assert torch.equal(p, q)


def test_forgotten_pages_are_freed():
    """Paged moments are kept alive by their manager."""
    optimizer = make_optimizer("adamw_8bit", parameters(), 1e-3, 0.0)
    optimizer.page_mng.paged_tensors.append(torch.zeros(1))
    forget(optimizer)
    assert not optimizer.page_mng.paged_tensors


def test_pages_need_a_gpu():
    with pytest.raises(InputError, match=r"name: paged_adamw_8bit on the device 'cpu', expected a GPU"):
        make_optimizer("paged_adamw_8bit", parameters(), 1e-3, 0.0)


class Keep(L.Callback):
    """Keeps the checkpoint that lies there when the second update of the vim phase begins."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if (trainer.fit_loop.current.name, batch_idx) == ("vim", 1):
            shutil.copy(PhaseCheckpoint.path(trainer), trainer.run_dir / "middle.ckpt")


@pytest.mark.parametrize("name", NAMES)
def test_a_run_continues_with_its_moments(name, toy_trainer, toy_swirl, toy_data):
    """From a checkpoint in the middle of a phase, in which the learner alone has moments."""

    def fit(folder, *callbacks, ckpt_path=None):
        model = toy_swirl(
            lora=True, optimizer=OptimizerOptions(name, lr_warmup=2), fwm={"anchor": 0.5, "learning_rate": 0.01}
        )
        trainer = toy_trainer("sft", "vim", folder=folder, callbacks=[PhaseCheckpoint(every_n_updates=1), *callbacks])
        trainer.fit(model, datamodule=toy_data(), ckpt_path=ckpt_path, weights_only=True)
        return model.weights.tensors(), trainer.run_dir / "middle.ckpt"

    undisturbed, middle = fit("undisturbed", Keep())
    saved = torch.load(middle, weights_only=True)
    assert [bool(moments["state"]) for moments in saved["optimizer_states"]] == [True, False]
    assert not all(torch.equal(undisturbed[key], value) for key, value in saved["state_dict"].items())
    resumed, _ = fit("resumed", ckpt_path=middle)
    assert all(torch.equal(undisturbed[key], value) for key, value in resumed.items())
