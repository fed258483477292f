"""A run continued from any checkpoint ends with the bits of an undisturbed one. In one process; kills are elsewhere."""

import json
import random
import shutil

import lightning as L
import numpy as np
import pytest
import torch

from swirl_lightning.callbacks import PhaseCheckpoint
from swirl_lightning.modules.schedule import Stage
from swirl_lightning.rewards import LikelihoodReward, Rewards

PHASES = ("pretrain", "sft", "vim", "elbo")
NAMES = ("pretrain", "warmup", "vim", "elbo")
UPDATES = 2
MOMENTS = [f"{name}-{update}" for name in NAMES for update in range(UPDATES)]
TIMES = ("tokens_per_second", "share_generation", "share_scoring", "share_update", "seconds")


class Likelihood:
    """The scorer's log-prob of any completion (those of so young a model hardly ever end) with noise from outside."""

    def __call__(self, rollouts, task, scorer):
        logp = LikelihoodReward()(rollouts, task, scorer).parts["sequence_logp"]
        return Rewards(logp + torch.rand(len(logp)) + random.random() * logp + np.random.rand() * logp**2)


VARIANTS = {
    "scratch": {"fwm": {"anchor": 0.1, "inner_steps": 2}, "idm": {"top_p": 0.9}},
    "lora": {"lora": True, "idm": {"prior": "state", "anchor": 0.1}},
    "shared": {"shared_weights": True, "bootstrap": 0.1},
}


class KeepAll(L.Callback):
    """Keeps a copy of last.ckpt as it is when an update begins (0 is the end of the stage before) and at the end."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        name = f"{trainer.fit_loop.current.name}-{batch_idx}.ckpt"
        shutil.copy(PhaseCheckpoint.path(trainer), self.folder / name)

    def on_fit_end(self, trainer, module):
        shutil.copy(PhaseCheckpoint.path(trainer), self.folder / "end.ckpt")


def run(toy_trainer, model, data, folder, *callbacks, ckpt_path=None):
    stages = [Stage(phase, updates=UPDATES) for phase in PHASES]
    trainer = toy_trainer(
        *stages, folder=folder, limit_val_batches=1.0, callbacks=[*callbacks, PhaseCheckpoint(every_n_updates=1)]
    )
    trainer.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def outcome(trainer, model):
    """All that a run leaves behind but times: weights, optimisers, history, results, samples."""
    weights = {key: value.clone() for key, value in model.weights.tensors().items()}
    moments = [
        [{key: torch.as_tensor(x).clone() for key, x in state.items()} for state in optimizer.state.values()]
        for optimizer in trainer.optimizers
    ]
    rows = {}
    for name in ("history.jsonl", "samples.jsonl"):
        rows[name] = list(map(json.loads, (trainer.run_dir / name).read_text().splitlines()))
    rows["stages"] = json.loads((trainer.run_dir / "results.json").read_text())["stages"]
    rows = {name: [{k: v for k, v in row.items() if k not in TIMES} for row in rows[name]] for name in rows}
    return weights, moments, rows, trainer.global_step


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Outcomes and checkpoints of the whole runs, made when first asked for."""
    return {}, tmp_path_factory.mktemp("checkpoints")


@pytest.fixture
def whole(undisturbed, toy_trainer, toy_swirl, toy_data):
    def get(variant):
        outcomes, folder = undisturbed
        if variant not in outcomes:
            (folder / variant).mkdir()
            model = toy_swirl(**VARIANTS[variant], reward=Likelihood())
            random.seed(1)
            np.random.seed(1)
            trainer = run(toy_trainer, model, toy_data(), "whole", KeepAll(folder / variant))
            outcomes[variant] = outcome(trainer, model)
        return outcomes[variant], folder / variant

    return get


def assert_same(ours, theirs):
    weights, moments, rows, steps = ours
    assert rows == theirs[2]
    assert steps == theirs[3]
    assert weights.keys() == theirs[0].keys()
    assert all(torch.equal(value, theirs[0][key]) for key, value in weights.items())
    for a, b in zip(moments, theirs[1], strict=True):
        for x, y in zip(a, b, strict=True):
            assert all(torch.equal(x[key], y[key]) for key in y)


CASES = [("scratch", moment) for moment in (*MOMENTS, "end")]
CASES += [("lora", "vim-1"), ("lora", "elbo-0"), ("shared", "vim-1")]


@pytest.mark.parametrize(("variant", "moment"), CASES)
def test_resumed_run_is_the_undisturbed_one(variant, moment, whole, toy_trainer, toy_swirl, toy_data):
    expected, checkpoints = whole(variant)
    random.seed(99)
    np.random.seed(99)
    # other weights to begin with: all that matters must come from the checkpoint, but for a frozen base
    model = toy_swirl(**VARIANTS[variant], reward=Likelihood(), weights_seed=1 if variant == "lora" else 99)
    trainer = run(toy_trainer, model, toy_data(), "resumed", ckpt_path=checkpoints / f"{moment}.ckpt")
    assert_same(outcome(trainer, model), expected)


@pytest.mark.parametrize(("moment", "learner"), [("vim-1", "fwm"), ("elbo-0", "idm"), ("elbo-1", "idm")])
def test_a_resumed_phase_freezes_the_other_role(moment, learner, whole, toy_trainer, toy_swirl, toy_data):
    """Lightning skips on_train_epoch_start when it continues in the middle of a phase."""
    _, checkpoints = whole("scratch")
    seen = []

    class Look(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            names = module.weights.names
            seen.append({n for n in names for p in module.weights.named(n).values() if p.requires_grad})

    model = toy_swirl(**VARIANTS["scratch"], reward=Likelihood())
    run(toy_trainer, model, toy_data(), "resumed", Look(), ckpt_path=checkpoints / f"{moment}.ckpt")
    assert seen[0] == {learner}


def test_the_history_is_whole(whole):
    (_, _, rows, _), checkpoints = whole("scratch")
    assert [(row["stage"], row["update"]) for row in rows["history.jsonl"]] == [
        (name, update) for name in NAMES for update in range(UPDATES)
    ]
    assert [stage["stage"] for stage in rows["stages"]] == list(NAMES)
    assert all(row["reward_std"] > 0 for row in rows["history.jsonl"] if row["stage"] in ("vim", "elbo"))
    assert sorted(path.stem for path in checkpoints.iterdir()) == sorted([*MOMENTS, "end"])


def test_another_seed_is_another_run(whole, toy_trainer, toy_swirl, toy_data):
    """So that equal bits above mean something."""
    expected, _ = whole("scratch")
    model = toy_swirl(**VARIANTS["scratch"], reward=Likelihood(), seed=1)
    weights = outcome(run(toy_trainer, model, toy_data(), "other"), model)[0]
    assert any(not torch.equal(value, expected[0][key]) for key, value in weights.items())
