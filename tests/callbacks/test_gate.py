"""The gate: what it keeps, what it throws away, and by which rows."""

import json

import pytest
import torch

from swirl_lightning.callbacks import PhaseCheckpoint, PhaseGate
from swirl_lightning.modules.schedule import Stage
from swirl_lightning.rewards import LikelihoodReward, Rewards
from swirl_lightning.types import InputError

STAGES = Stage("sft", updates=2), Stage("vim", updates=2, learning_rate=1e-2), Stage("elbo", updates=2)
ROWS = 30


class Likelihood:
    """The scorer's log-prob of any completion: those of so young a model hardly ever end."""

    def __call__(self, rollouts, task, scorer):
        logp = LikelihoodReward()(rollouts, task, scorer).parts["sequence_logp"]
        return Rewards(logp + torch.rand(len(logp)))


class Judge(PhaseGate):
    """A gate that finds what it is told of the FWM after the VIM phase, and of the IDM after the ELBO phase."""

    roles = {"vim": "fwm", "elbo": "idm"}

    def __init__(self, vim=0.0, elbo=0.0, metric="logp"):
        super().__init__()
        self.change, self.metric, self.weights = {"vim": vim, "elbo": elbo}, metric, {}

    def on_train_epoch_end(self, trainer, pl_module):
        name = trainer.fit_loop.finished.name
        self.weights[name] = {key: value.clone() for key, value in pl_module.weights.tensors().items()}
        noise = torch.linspace(-0.1, 0.1, ROWS).tolist()  # its standard error is 0.011
        change = self.change.get(name)
        rows = {f"{role}/{metric}": [0.0] * ROWS for role in ("fwm", "idm") for metric in ("exact_match", "logp")}
        if change is not None:
            rows[f"{self.roles[name]}/{self.metric}"] = [change + x for x in noise]
        pl_module.rows = rows
        super().on_train_epoch_end(trainer, pl_module)


@pytest.fixture
def fit(toy_trainer, toy_swirl, toy_data, monkeypatch):
    monkeypatch.setattr("swirl_lightning.callbacks.gate.LEAST_ROWS", 1)

    def run(gate, *stages, folder="run", ckpt_path=None, callbacks=(), **options):
        trainer = toy_trainer(
            *(stages or STAGES), folder=folder, limit_val_batches=1.0,
            callbacks=[gate, *callbacks, PhaseCheckpoint(every_n_updates=1)],
        )  # fmt: skip
        model = toy_swirl(reward=Likelihood(), **options)
        trainer.fit(model, datamodule=toy_data(batch_size=4), ckpt_path=ckpt_path, weights_only=True)
        return trainer, model, json.loads((trainer.run_dir / "results.json").read_text())["stages"]

    return run


@pytest.mark.parametrize("metric", ["exact_match", "logp"])
def test_a_phase_that_does_harm_is_undone(fit, metric):
    """The learner has the weights that it began with, and the results are theirs; what was measured is kept."""
    gate = Judge(vim=-0.02, metric=metric)
    trainer, model, stages = fit(gate)
    after = model.weights.tensors()
    assert all(torch.equal(after[key], value) for key, value in gate.weights["warmup"].items() if "fwm/" in key)
    assert any(not torch.equal(gate.weights["vim"][key], after[key]) for key in after if "fwm/" in key)
    assert stages[1]["metrics"] == stages[0]["metrics"]
    assert stages[1]["discarded"]["test"] != stages[0]["metrics"]
    assert "discarded" not in stages[2]
    saved = torch.load(PhaseCheckpoint.path(trainer), weights_only=True)["state_dict"]
    assert all(torch.equal(saved[key], value) for key, value in after.items())


@pytest.mark.parametrize("change", [-0.009, 0.0, 0.02])
def test_what_may_be_chance_is_kept(fit, change):
    """A fall within the standard error, and no fall at all."""
    gate = Judge(vim=change, elbo=change)
    _, model, stages = fit(gate)
    after = model.weights.tensors()
    assert all(torch.equal(after[key], value) for key, value in gate.weights["elbo"].items())
    assert not any("discarded" in stage for stage in stages)


def test_the_next_phase_is_compared_with_what_is_held(fit):
    """Not with the weights that were thrown away: after them a fall to the old level would look like a gain."""
    gate = Judge(vim=-0.05, elbo=-0.05)
    _, model, stages = fit(gate)
    after = model.weights.tensors()
    assert all(
        torch.equal(after[key], value) for key, value in gate.weights["warmup"].items() if "reference" not in key
    )
    assert [("discarded" in stage) for stage in stages] == [False, True, True]


def test_shared_weights_answer_for_both_roles(fit):
    """The VIM phase changes the IDM too, where it is the same weights."""

    class OfTheOther(Judge):
        roles = {"vim": "idm", "elbo": "fwm"}

    _, _, stages = fit(OfTheOther(vim=-0.05), shared_weights=True)
    assert "discarded" in stages[1]
    _, _, stages = fit(OfTheOther(vim=-0.05), folder="apart")
    assert "discarded" not in stages[1]


def test_rows_are_those_of_the_metrics(fit):
    """Their means are the validation metrics."""

    class Look(PhaseGate):
        def on_train_epoch_end(self, trainer, pl_module):
            super().on_train_epoch_end(trainer, pl_module)
            self.seen = pl_module.rows, pl_module.results["validation"]

    look = Look()
    fit(look, Stage("sft", updates=3, learning_rate=1e-2))
    rows, metrics = look.seen
    for name, values in rows.items():
        assert sum(values) / len(values) == pytest.approx(metrics[name], rel=1e-5)


def test_a_resumed_run_decides_the_same(fit):
    """What a phase is compared with is in the checkpoint."""
    whole = fit(Judge(vim=-0.05), folder="whole")[2]
    short = fit(Judge(vim=-0.05), *STAGES[:1], folder="short")[0]
    resumed = fit(Judge(vim=-0.05), folder="resumed", ckpt_path=PhaseCheckpoint.path(short))[2]
    for stage, expected in zip(resumed, whole, strict=True):
        assert stage["metrics"] == expected["metrics"]
        assert stage.get("discarded") == expected.get("discarded")


def test_too_few_rows_are_refused(toy_trainer, toy_swirl, toy_data):
    with pytest.raises(InputError, match="PhaseGate: found .* expected at least 20"):
        toy_trainer(*STAGES, callbacks=[PhaseGate()]).fit(toy_swirl(), datamodule=toy_data(validation_limit=3))
