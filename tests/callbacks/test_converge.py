"""Stages that run until converged: when they end, what they keep, and that a resume ends in the same place."""

import json

import pytest
import torch

from swirl_lightning.callbacks import PhaseCheckpoint, StopConverged, converge
from swirl_lightning.modules.held_out import chance_of_truth
from swirl_lightning.modules.schedule import Stage
from swirl_lightning.types import InputError

SFT = Stage("sft", updates=12, until="converged", learning_rate=1e-2)


@pytest.fixture
def scored(monkeypatch):
    """Let the measurements of each role be those given, and note the weights that they were taken of."""

    def script(fwm, idm):
        left, seen = {"fwm": list(fwm), "idm": list(idm)}, {"fwm": [], "idm": []}

        def score(model, role, transitions, batch_size):
            seen[role.role].append([p.detach().clone() for p in role.policy.parameters()])
            return left[role.role].pop(0)

        monkeypatch.setattr(converge, "chance_of_truth", score)
        return seen

    return script


def fit(toy_trainer, toy_swirl, toy_data, *stages, folder="run", callbacks=(), ckpt_path=None, **options):
    trainer = toy_trainer(*stages, folder=folder, callbacks=[*callbacks, PhaseCheckpoint(every_n_updates=1)])
    model = toy_swirl(**options)
    trainer.fit(model, datamodule=toy_data(batch_size=4), ckpt_path=ckpt_path, weights_only=True)
    return trainer, model


def test_each_role_keeps_its_best_weights(toy_trainer, toy_swirl, toy_data, scored):
    """The FWM's best is its second measurement, the IDM's its third; two without a best end the stage."""
    seen = scored(fwm=[0.1, 0.5, 0.4, 0.3, 0.2], idm=[0.1, 0.2, 0.3, 0.2, 0.2])
    trainer, model = fit(
        toy_trainer, toy_swirl, toy_data, SFT, callbacks=[StopConverged(every_n_updates=2, patience=2)]
    )
    (stage,) = json.loads((trainer.run_dir / "results.json").read_text())["stages"]
    assert stage["updates"] == 8
    for role, best in ((model.fwm, 1), (model.idm, 2)):
        for value, expected in zip(role.policy.parameters(), seen[role.role][best], strict=True):
            assert torch.equal(value, expected)
    assert not torch.equal(seen["fwm"][1][0], seen["fwm"][-1][0])


def test_weights_that_no_update_betters_stay(toy_trainer, toy_swirl, toy_data, scored):
    """The weights that the stage begins with take part."""
    seen = scored(fwm=[0.5, 0.1], idm=[0.5, 0.1])
    _, model = fit(
        toy_trainer, toy_swirl, toy_data, Stage("sft", updates=3, until="converged"), callbacks=[StopConverged(5, 1)]
    )
    for value, expected in zip(model.fwm.policy.parameters(), seen["fwm"][0], strict=True):
        assert torch.equal(value, expected)


def test_the_next_stage_has_its_own_updates(toy_trainer, toy_swirl, toy_data, scored):
    """A stage that ended early is closed as any other, with checkpoint and results."""
    scored(fwm=[0.5, 0.1], idm=[0.5, 0.1])
    stages = SFT, Stage("vim", updates=3)
    trainer, _ = fit(toy_trainer, toy_swirl, toy_data, *stages, callbacks=[StopConverged(2, 1)])
    history = list(map(json.loads, (trainer.run_dir / "history.jsonl").read_text().splitlines()))
    assert [(row["stage"], row["update"]) for row in history] == [
        ("warmup", 0), ("warmup", 1), ("vim", 0), ("vim", 1), ("vim", 2),
    ]  # fmt: skip
    assert [s["updates"] for s in json.loads((trainer.run_dir / "results.json").read_text())["stages"]] == [2, 3]


def test_the_learning_rate_is_constant(toy_trainer, toy_swirl, toy_data):
    """A cosine would end at a point that nobody knows."""
    trainer, _ = fit(
        toy_trainer, toy_swirl, toy_data, Stage("sft", updates=4, until="converged", lr_warmup=2, learning_rate=1e-3)
    )
    assert trainer.optimizers[0].param_groups[0]["lr"] == 1e-3


class Keep(PhaseCheckpoint):
    """One file for every update."""

    def on_train_batch_end(self, trainer, pl_module, *args):
        path = self.path(trainer).with_name(f"{trainer.fit_loop.current.name}-{trainer.fit_loop.update}.ckpt")
        self._save(trainer, path)


@pytest.mark.parametrize("name", ["warmup-0", "warmup-2", "warmup-5", "vim-0"])
def test_a_resumed_stage_ends_where_it_would_have(toy_trainer, toy_swirl, toy_data, name):
    """Measurements, best weights and a stage that has been ended are in the checkpoint, the last update's too."""
    stages = SFT, Stage("vim", updates=2)

    def run(folder, **options):
        callbacks = [StopConverged(2, 1), Keep()]
        return fit(toy_trainer, toy_swirl, toy_data, *stages, folder=folder, callbacks=callbacks, **options)

    whole, model = run("whole")
    ended = json.loads((whole.run_dir / "results.json").read_text())["stages"][0]["updates"]
    if (path := whole.run_dir / f"checkpoints/{name}.ckpt").exists() is False:
        path = whole.run_dir / f"checkpoints/warmup-{ended - 1}.ckpt"
    _, resumed = run("resumed", ckpt_path=path)
    for key, value in model.weights.tensors().items():
        assert torch.equal(value, resumed.weights.tensors()[key]), key


def test_the_chance_of_the_truth(ready_swirl):
    """Against one row at a time, from the log-probs of the whole answer with its end."""
    model, data = ready_swirl("sft")
    rows = data.validation[:5]
    for role in (model.fwm, model.idm):
        naive = []
        for t in rows:
            code = model.codec.encode(t)
            prompt = role.prompt(code, code.z if role is model.fwm else code.y)
            ids = (*(code.y if role is model.fwm else code.z), model.codec.eos)
            network = model.weights.activate(role.policy.name)
            with torch.no_grad():
                logits = network(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
            logp = sum(logits[len(prompt) - 1 + i, token] for i, token in enumerate(ids))
            naive.append(float(logp.exp()))
        assert chance_of_truth(model, role, rows, 2) == pytest.approx(sum(naive) / 5, rel=1e-4)


@pytest.mark.parametrize(
    "options",
    [{"updates": 3, "passes": 2}, {"until": "converged"}, {"until": "done", "updates": 3}, {"passes": 0},
     {"passes": float("nan")}, {"lr_warmup": -1}],
)  # fmt: skip
def test_what_a_stage_cannot_be(options):
    with pytest.raises(InputError, match=r"trainer\.warmup or trainer\.iteration"):
        Stage("sft", **options)


def test_passes_and_a_share_of_warm_up(toy_trainer, toy_swirl, toy_data):
    """Two and a half passes over the labels, of which a fifth warms the learning rate up."""
    trainer, _ = fit(toy_trainer, toy_swirl, toy_data, Stage("sft", passes=2.5, lr_warmup=0.2))
    labels = len(trainer.datamodule.labelled)
    (stage,) = json.loads((trainer.run_dir / "results.json").read_text())["stages"]
    assert stage["updates"] == -(-5 * labels // 8)
