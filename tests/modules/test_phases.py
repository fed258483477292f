"""What each phase does, under a real trainer on the toy world."""

import json
import math

import lightning as L
import pytest
import torch

from swirl_lightning.models.optimizers import OptimizerOptions
from swirl_lightning.modules import learning
from swirl_lightning.modules.schedule import Stage
from swirl_lightning.rewards import Rewards


def values(model, name):
    return torch.cat([p.detach().flatten() for p in model.weights.named(name).values()]).clone()


class Watch(L.Callback):
    """Weights at the start of each stage and after each update, and which sets get gradients."""

    def __init__(self):
        self.started, self.after, self.trainable, self.rates, self.moments = {}, {}, {}, {}, {}

    def on_train_epoch_start(self, trainer, model):
        self.started[trainer.fit_loop.current.name] = {name: values(model, name) for name in model.weights.names}

    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        if batch_idx == 0:
            self.moments[trainer.fit_loop.current.name] = [len(o.state) for o in trainer.optimizers]

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        stage = trainer.fit_loop.current.name
        self.after.setdefault(stage, []).append({name: values(model, name) for name in model.weights.names})
        trainable = {n for n in model.weights.names if all(p.requires_grad for p in model.weights.named(n).values())}
        frozen = {n for n in model.weights.names if not any(p.requires_grad for p in model.weights.named(n).values())}
        assert trainable | frozen == set(model.weights.names)
        self.trainable.setdefault(stage, []).append(trainable)
        rates = [[group["lr"] for group in o.param_groups] for o in trainer.optimizers]
        self.rates.setdefault(stage, []).append(rates)


@pytest.fixture
def fit(toy_trainer, toy_data):
    """Trains a SWIRL on the toy world; returns the watch and the history."""

    def run(model, *phases, **options):
        watch = Watch()
        trainer = toy_trainer(*phases, callbacks=[watch], **options)
        trainer.fit(model, datamodule=toy_data())
        history = (trainer.run_dir / "history.jsonl").read_text().splitlines()
        return watch, [json.loads(row) for row in history]

    return run


PHASES = ("pretrain", "sft", "bootstrap", "vim", "elbo", "vim")
LEARNERS = {
    "pretrain": {"fwm"},
    "warmup": {"fwm", "idm"},
    "bootstrap": {"fwm"},
    "vim": {"fwm"},
    "elbo": {"idm"},
    "vimb": {"fwm"},
}


@pytest.mark.parametrize("lora", [False, True])
def test_only_the_learner_of_a_phase_learns(lora, toy_swirl, fit):
    # the anchor moves the learner even where no completion ends and no group has any variance
    model = toy_swirl(lora=lora, fwm={"anchor": 0.1}, idm={"anchor": 0.1})
    watch, _ = fit(model, *PHASES, updates=3)
    assert list(watch.after) == list(LEARNERS)
    for stage, learners in LEARNERS.items():
        started = watch.started[stage]
        for update, after in enumerate(watch.after[stage]):
            assert watch.trainable[stage][update] == learners
            for name in ("fwm", "idm"):
                assert torch.equal(after[name], started[name]) == (name not in learners), (stage, name)
            if len(learners) == 1:  # the reference is the learner as the phase began
                assert torch.equal(after["reference"], started[next(iter(learners))]), stage
        for a, b in zip(watch.after[stage], watch.after[stage][1:], strict=False):
            assert all(not torch.equal(a[name], b[name]) for name in learners)


def test_after_pretrain_both_roles_are_one_model(toy_swirl, fit):
    model = toy_swirl()
    watch, _ = fit(model, "pretrain", "sft")
    last = watch.after["pretrain"][-1]
    assert not torch.equal(last["fwm"], last["idm"])
    assert torch.equal(watch.started["warmup"]["fwm"], last["fwm"])
    assert torch.equal(watch.started["warmup"]["idm"], last["fwm"])


def test_moments_are_forgotten_between_phases(toy_swirl, fit):
    watch, _ = fit(toy_swirl(), "sft", "vim", "elbo")
    assert all(counts == [0, 0] for counts in watch.moments.values())


def test_learning_rates(toy_swirl, fit):
    """Linear warm-up then half a cosine, in each stage anew; the stage's peak, or else the role's."""
    model = toy_swirl(fwm={"learning_rate": 4e-3}, idm={"learning_rate": 1e-3}, optimizer=OptimizerOptions(lr_warmup=2))
    stages = (Stage("sft", updates=6), Stage("vim", updates=4, learning_rate=5e-4), Stage("elbo", updates=3))
    watch, _ = fit(model, *stages)

    def schedule(peak, updates):
        tail = [0.5 * (1 + math.cos(math.pi * u / (updates - 2))) for u in range(updates - 2)]
        return [peak * factor for factor in (0.5, 1.0, *tail)]

    def rates(stage, role):
        return [update[role][0] for update in watch.rates[stage]]

    assert rates("warmup", 0) == pytest.approx(schedule(4e-3, 6))
    assert rates("warmup", 1) == pytest.approx(schedule(1e-3, 6))
    assert rates("vim", 0) == pytest.approx(schedule(5e-4, 4))
    assert rates("elbo", 1) == pytest.approx(schedule(1e-3, 3))


def test_constant_learning_rate(toy_swirl, fit):
    model = toy_swirl(optimizer=OptimizerOptions(lr_schedule="constant", lr_warmup=0))
    watch, _ = fit(model, "sft", updates=4)
    assert [update[0] for update in watch.rates["warmup"]] == [[5e-3]] * 4


@pytest.mark.parametrize("loss", ["grpo", "dr_grpo", "dapo"])
@pytest.mark.parametrize("importance", ["token", "sequence"])
def test_every_loss_runs(loss, importance, toy_swirl, fit):
    role = {"loss": loss, "importance": importance, "inner_steps": 2, "anchor": 0.1, "top_p": 0.95}
    role |= {"advantage_scale": {"grpo": "batch", "dapo": "none"}.get(loss, "group"), "temperature": 0.9}
    watch, history = fit(toy_swirl(fwm=role, idm=role, bootstrap=0.1), "vim", "elbo")
    assert len(history) == 4
    assert all(math.isfinite(x) for row in history for x in row.values() if not isinstance(x, str))
    assert not torch.equal(watch.after["vim"][-1]["fwm"], watch.started["vim"]["fwm"])
    assert not torch.equal(watch.after["elbo"][-1]["idm"], watch.started["elbo"]["idm"])


def test_inner_steps_leave_the_sampling_policy(toy_swirl, fit, monkeypatch):
    """The first step on a batch has ratio 1, the second one has not: old log-probs stay those of the sampler."""
    ratios, original = [], learning.grpo_loss

    def recorded(logp, old, *args, **kwargs):
        ratios.append((logp - old).detach().exp()[args[2]])
        return original(logp, old, *args, **kwargs)

    monkeypatch.setattr(learning, "grpo_loss", recorded)
    fit(toy_swirl(fwm={"inner_steps": 3, "anchor": 0.5}, optimizer=OptimizerOptions(lr_warmup=0)), "vim", updates=2)
    assert len(ratios) == 6
    for first in (0, 3):
        torch.testing.assert_close(ratios[first], torch.ones_like(ratios[first]), atol=1e-5, rtol=0)
        moved = [float((ratio - 1).abs().max()) for ratio in ratios[first : first + 3]]
        assert 1e-4 < moved[1] < moved[2]


def test_a_phase_raises_its_reward(toy_swirl, fit):
    """Not only finite: GRPO on a reward that counts a token makes the token frequent."""

    class Likes:
        def __call__(self, rollouts, task, scorer):
            return Rewards(torch.tensor([float(c.count(50)) for c in rollouts.completions]))

    model = toy_swirl(
        fwm={"group_size": 16, "learning_rate": 2e-2, "beta": 0.0},
        reward=Likes(),
        optimizer=OptimizerOptions(lr_schedule="constant", lr_warmup=2),
    )
    _, history = fit(model, Stage("vim", updates=12, batch_size=4))
    assert history[-1]["reward"] > history[0]["reward"] + 1


def test_shared_weights(toy_swirl, fit, spy):
    """One set for both roles; while it learns, the reference, which stands still, samples z and scores."""
    model = toy_swirl(shared_weights=True, fwm={"anchor": 0.1}, idm={"anchor": 0.1})
    scorers = []

    class Spy:
        def __call__(self, rollouts, task, scorer):
            scorers.append(scorer.name)
            return likelihood(rollouts, task, scorer)

    likelihood, model.reward = model.reward, Spy()
    latent = spy(model.idm, "answer")
    watch, _ = fit(model, "pretrain", "sft", "bootstrap", "vim", "elbo")
    assert model.weights.names == ("shared", "reference")
    assert scorers == ["reference"] * 4
    assert [kwargs["policy"].name for _, kwargs, _ in latent if "policy" in kwargs] == ["reference"] * 4
    for stage, updates in watch.after.items():
        for after in updates:
            assert torch.equal(after["reference"], watch.started[stage]["shared"])
            assert not torch.equal(after["shared"], watch.started[stage]["shared"])
    assert all(sets == [{"shared"}] * 2 for sets in watch.trainable.values())


@pytest.mark.parametrize("phase", ["pretrain", "sft", "bootstrap", "vim", "elbo"])
def test_not_a_number_stops_the_run(phase, toy_swirl, fit):
    """With the phase and the update in the message."""
    model = toy_swirl()

    class Poison(L.Callback):
        def on_train_batch_start(self, trainer, model, batch, batch_idx):
            if batch_idx == 1:
                with torch.no_grad():
                    for name in ("fwm", "idm"):
                        next(iter(model.weights.named(name).values())).fill_(torch.nan)

    name = "warmup" if phase == "sft" else phase
    with pytest.raises(FloatingPointError, match=rf"{name} update 1: .*learning_rate"):
        fit_with(fit, model, phase, Poison())


def fit_with(fit, model, phase, callback):
    """Trains with one more callback, through the module, which is one's own place for callbacks."""
    model.configure_callbacks = lambda: [callback]
    return fit(model, phase, updates=3)


def test_not_a_number_from_a_reward_stops_the_run(toy_swirl, fit):
    class Broken:
        def __call__(self, rollouts, task, scorer):
            return Rewards(torch.full((len(rollouts.completions),), torch.nan))

    with pytest.raises(FloatingPointError, match="vim update 0: .*reward"):
        fit(toy_swirl(reward=Broken()), "vim")


def test_generated_tokens_carry_no_gradient(toy_swirl, fit):
    """Tokens counted for the gradient are those of the update's forward; generation and scoring are not among them."""
    _, history = fit(toy_swirl(), "sft", "bootstrap", "vim", "elbo", updates=1)
    rows = {row["stage"]: row for row in history}
    assert rows["warmup"]["gradient_tokens"] == rows["warmup"]["tokens"]
    for stage in ("vim", "elbo"):
        # policy, reference and scorer read texts of about one length, and the generation is paid for beside them
        assert rows[stage]["gradient_tokens"] < rows[stage]["tokens"] / 2
