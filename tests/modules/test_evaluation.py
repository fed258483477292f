"""Held-out metrics of both roles: greedy answers, log-probs of the truth, nothing left over for the next stage."""

import math
from dataclasses import replace

import pytest
import torch

from swirl_lightning.engine import GREEDY
from swirl_lightning.metrics import PredictionMetric
from swirl_lightning.modules import swirl
from swirl_lightning.modules.evaluation import Evaluation, fingerprint
from swirl_lightning.modules.grpo_mixin import target_logprobs
from swirl_lightning.types import InputError


def test_against_plain_computations(phase_swirl, whole_text_logps):
    model, data = phase_swirl(scale=6.0, fwm={"temperature": 0.5}, idm={"top_k": 2})
    batch = data.test
    predictions = model.evaluations["test"].update(model, batch[:2])
    predictions += model.evaluations["test"].update(model, batch[2:])
    values = model.evaluations["test"].compute()

    layout, codes = model.codec.prompts(), [model.codec.encode(t) for t in batch]
    means = {"fwm": [], "idm": []}
    for t, code, said in zip(batch, codes, predictions, strict=True):
        for role, prompt, target in (
            (model.fwm, layout.forward(code.x, code.z), code.y),
            (model.idm, layout.inverse(code.x, code.y), code.z),
        ):
            logp = whole_text_logps(role.policy, prompt, (*target, model.codec.eos))
            means[role.role].append(float(logp.detach().mean()))
            greedy = role.policy.generate([prompt], [0], group_size=1, max_tokens=6, sampling=GREEDY).completions[0]
            answer = model.codec.next_state(t.state, greedy) if role is model.fwm else model.codec.action(greedy)
            assert answer == (said.next_state if role is model.fwm else said.action)
    for role, logps in means.items():
        assert values[f"{role}/logp"] == pytest.approx(sum(logps) / len(logps), abs=1e-4)
    assert values["idm/exact_match"] == sum(p.action == t.action for p, t in zip(predictions, batch, strict=True)) / 3
    assert values["idm/unique"] == pytest.approx(len({p.action for p in predictions}) / 3)
    assert values["fwm/exact_match"] == 0


def test_counters_start_anew(phase_swirl):
    model, data = phase_swirl()
    evaluation = model.evaluations["validation"]
    evaluation.update(model, data.test)
    evaluation.compute()
    evaluation.update(model, data.validation)
    again = evaluation.compute()
    fresh = Evaluation()
    fresh.update(model, data.validation)
    assert again == fresh.compute()


def test_a_perfect_answer(phase_swirl):
    model, data = phase_swirl()
    codes = [model.codec.encode(t) for t in data.test]
    for role, truth in ((model.idm, [code.z for code in codes]), (model.fwm, [code.y for code in codes])):
        examine = role.examine
        role.examine = lambda *args, f=examine, said=truth: (said, f(*args)[1])
    model.evaluations["test"].update(model, data.test)
    values = model.evaluations["test"].compute()
    for name in ("fwm/exact_match", "fwm/token_f1", "fwm/delta_f1", "idm/exact_match", "idm/token_f1"):
        assert values[name] == 1
    assert values["fwm/changed_exact_match"] == 1
    assert values["fwm/copied"] == values["fwm/copy_exact_match"] == 0  # something changes in each of them


def test_a_model_that_copies_is_seen(phase_swirl):
    """Exact match is then the share of transitions in which nothing changes, and nothing is left of it elsewhere."""
    model, data = phase_swirl()
    still = [replace(t, next_state=t.state) for t in data.test[:2]]
    examine = model.fwm.examine
    model.fwm.examine = lambda prompts, targets: ([()] * len(prompts), examine(prompts, targets)[1])  # no edit
    model.evaluations["test"].update(model, [*still, data.test[2]])
    values = model.evaluations["test"].compute()
    assert values["fwm/exact_match"] == values["fwm/copy_exact_match"] == pytest.approx(2 / 3)
    assert values["fwm/changed_exact_match"] == 0
    assert values["fwm/copied"] == 1
    model.evaluations["test"].update(model, still)
    assert math.isnan(model.evaluations["test"].compute()["fwm/copied"])  # nothing changes anywhere


def test_every_prompt_passes_once(phase_swirl):
    model, data = phase_swirl(scale=6.0)
    codes = [model.codec.encode(t) for t in data.test]
    prompts = [model.fwm.prompt(code, code.z) for code in codes]
    said, truth = model.fwm.examine(prompts, [code.y for code in codes])
    read = model.fwm.policy.tokens
    apart = model.fwm.answer(prompts).ids
    logp, mask = target_logprobs(model.fwm.policy, prompts, [code.y for code in codes])
    assert said == apart
    torch.testing.assert_close(truth.logp, logp, atol=1e-5, rtol=1e-5)
    assert torch.equal(truth.mask, mask)
    assert model.fwm.policy.tokens - read == read + sum(map(len, prompts))


def test_no_gradient_and_no_random_number(phase_swirl):
    model, data = phase_swirl("sft")
    torch.manual_seed(5)
    model.evaluations["test"].update(model, data.test)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))
    assert model.fwm.policy.gradient_tokens == model.idm.policy.gradient_tokens == 0


def test_the_base_scores_actions_where_there_is_one(phase_swirl, whole_text_logps):
    model, data = phase_swirl(lora=True)
    evaluation = model.evaluations["test"]
    layout = model.codec.prompts()
    zs = [(50, 51), (), (52,)]
    examine = model.idm.examine
    model.idm.examine = lambda *args: (zs, examine(*args)[1])
    evaluation.update(model, data.test)
    value = evaluation.compute()["idm/base_logp"]
    expected = [
        whole_text_logps(evaluation.base, layout.prior(model.codec.encode(t).x), (*z, model.codec.eos)).detach().mean()
        for t, z in zip(data.test, zs, strict=True)
    ]
    assert value == pytest.approx(float(torch.stack(expected).mean()), abs=1e-4)
    assert "idm/base_logp" not in phase_swirl()[0].evaluations["test"].compute()


def test_a_transition_without_action_is_refused(phase_swirl):
    model, data = phase_swirl()
    with pytest.raises(InputError, match=r"episode '010' step 0: evaluation needs the action"):
        model.evaluations["test"].update(model, data.state_only[:1])


@pytest.mark.parametrize("learner", ["fwm", "idm"])
def test_only_the_role_that_has_learned_is_asked_again(phase_swirl, monkeypatch, learner):
    model, data = phase_swirl(scale=6.0)
    roles = {"fwm": model.fwm, "idm": model.idm}
    asked = []
    for name, role in roles.items():
        examine = role.examine
        monkeypatch.setattr(role, "examine", lambda *args, n=name, f=examine: asked.append(n) or f(*args))
    evaluation = model.evaluations["test"]

    def weights():
        return {name: fingerprint(role.policy) for name, role in roles.items()}

    evaluation.update(model, data.test, weights())
    evaluation.compute()
    assert sorted(asked) == ["fwm", "idm"]

    with torch.no_grad():
        for parameter in roles[learner].policy.parameters():
            parameter.neg_()
    said = evaluation.update(model, data.test, weights())
    values = evaluation.compute()
    assert asked[2:] == [learner]
    fresh = Evaluation()
    assert fresh.update(model, data.test) == said
    assert fresh.compute() == values

    evaluation.update(model, data.test[:1], weights())  # others are not those that were answered
    assert sorted(asked[5:]) == ["fwm", "idm"]


class Length(PredictionMetric):
    """Characters of the true next state."""

    def score(self, transition, prediction):
        return float(len(transition.next_state))


class OtherLength(Length):
    """Another metric."""


def test_subsets_are_counted_one_by_one_and_together(phase_swirl):
    """What all of them have is of all transitions, each once; what differs in its class is of none together."""
    model, data = phase_swirl()
    rows = [replace(t, environment=name) for t, name in zip(data.test, "aab", strict=True)]
    own = {
        "a": {"fwm_length": Length(), "fwm_other": Length()},
        "b": {"fwm_length": Length(), "fwm_other": OtherLength()},
    }
    evaluation = Evaluation(None, own)
    evaluation.update(model, rows)
    values = evaluation.compute()
    lengths = [len(t.next_state) for t in rows]
    assert values["fwm/length"] == pytest.approx(sum(lengths) / 3)
    assert values["a/fwm/length"] == pytest.approx(sum(lengths[:2]) / 2)
    assert values["b/fwm/length"] == lengths[2]
    assert "fwm/other" not in values
    assert "b/fwm/other" in values


def test_a_fingerprint_is_of_every_bit(phase_swirl):
    model, _ = phase_swirl()
    before = fingerprint(model.fwm.policy)
    assert before == fingerprint(model.fwm.policy) != fingerprint(model.idm.policy)
    weight = model.fwm.policy.parameters()[-1]
    with torch.no_grad():
        weight[-1] = torch.nextafter(weight[-1], torch.tensor(2.0))
    assert before != fingerprint(model.fwm.policy)


def test_weights_are_hashed_once_an_evaluation(toy_trainer, toy_swirl, toy_data, monkeypatch):
    """Whatever the number of batches and of splits, and not at all where nothing is kept."""
    hashed = []
    monkeypatch.setattr(swirl, "fingerprint", lambda policy: hashed.append(policy.name) or fingerprint(policy))
    trainer, model = toy_trainer("pretrain", "sft", "vim", limit_val_batches=1.0), toy_swirl()
    trainer.fit(model, datamodule=toy_data(eval_batch_size=1))
    assert hashed == ["fwm", "idm"] * 2
    trainer.test(model, datamodule=toy_data(eval_batch_size=1), verbose=False)
    assert len(hashed) == 4
