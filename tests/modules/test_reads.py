"""What the IDM reads of a next state: the FWM's own spelling, the canonical edit, or the whole state."""

import json

import pytest
import torch

from swirl_lightning.algorithms.objectives import row_sum
from swirl_lightning.codecs import encode_delta, indent
from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.modules.idm import InverseDynamicsModel
from swirl_lightning.modules.round_trip import round_trip
from swirl_lightning.modules.scoring import scoring_task
from swirl_lightning.rewards import LikelihoodReward
from swirl_lightning.trained.label import name_actions
from swirl_lightning.types import Batch, InputError

FORMS = {"written": "delta", "delta": "delta", "full": "full"}


def ids_of(model, text):
    return tuple(model.codec.tokenizer.encode(text, add_special_tokens=False))


def text_read(t, form, next_state=None):
    y = t.next_state if next_state is None else next_state
    return indent(y) if form == "full" else encode_delta(t.state, y)


@pytest.mark.parametrize("reads", FORMS)
@pytest.mark.parametrize("phase", ["sft", "vim", "elbo", "bootstrap"])
def test_every_prompt_of_the_idm_holds_that_form(reads, phase, phase_swirl, monkeypatch):
    """In training, sampling, evaluation, labelling and the round trip; what the FWM writes stays an edit."""
    model, data = phase_swirl(phase, idm={"reads": reads})
    seen, prompt = [], InverseDynamicsModel.prompt
    monkeypatch.setattr(
        InverseDynamicsModel, "prompt", lambda idm, c, given: seen.append(given) or prompt(idm, c, given)
    )
    monkeypatch.setattr(model.updates, "step", lambda role, loss: 0.0)
    labelled, pairs = data.labelled[:3], data.state_only[:3]
    batch = Batch(labelled if phase == "sft" else pairs, labelled)
    true = {ids_of(model, text_read(t, FORMS[reads])) for t in (*labelled, *pairs, *data.test)}
    if phase == "vim":  # the completions are read too; here each is the true next state
        ids = [ids_of(model, text_read(t, "delta")) for t in pairs]
        monkeypatch.setattr(model.fwm, "rollout", lambda prompts, seeds: rollouts_of(prompts, [[y] for y in ids]))
    model.stage.phase.step(model, batch)
    for n, ask in enumerate((
        lambda: model._evaluation("test").update(model, data.test),
        lambda: name_actions(model, data.test),
        lambda: round_trip(model, data.test),
    )):  # fmt: skip
        before = len(seen)
        ask()
        assert len(seen) > before, n
    assert set(seen) <= true
    assert all(model.codec.encode(t).y == ids_of(model, text_read(t, "delta")) for t in pairs)


def rollouts_of(prompts, groups):
    rows = [(p, c) for p, group in enumerate(groups) for c in group]
    longest = max(len(c) for _, c in rows) + 1
    return Rollouts(
        prompts=tuple(prompts), completions=tuple(c for _, c in rows), prompt_of=torch.tensor([p for p, _ in rows]),
        row_of=torch.arange(len(rows)).reshape(len(groups), -1), ids=torch.zeros(len(rows), longest, dtype=torch.long),
        mask=torch.ones(len(rows), longest, dtype=torch.bool), finished=torch.ones(len(rows), dtype=torch.bool),
        logp=torch.zeros(len(rows), longest),
    )  # fmt: skip


@pytest.mark.parametrize("reads", FORMS)
def test_spellings_of_one_state_score_alike(reads, phase_swirl):
    """The edit's lines in another order mean the same state, and an edit that fits no state keeps its spelling."""
    model, data = phase_swirl(idm={"reads": reads})
    t = next(t for t in data.state_only if len(encode_delta(t.state, t.next_state).split("\n")) > 1)
    edit = encode_delta(t.state, t.next_state)
    other = "\n".join(reversed(edit.split("\n")))
    code, z = model.codec.encode(t), (50, 51)
    ids = [ids_of(model, text) for text in (edit, other, "? no edit")]
    rollouts = rollouts_of([model.fwm.prompt(code, z)], [ids])
    task = scoring_task(rollouts, [t], [code], [z], learner=model.fwm, scorer=model.idm, codec=model.codec)
    read = [ids_of(model, text_read(t, FORMS[reads]))] * 2 if reads != "written" else ids[:2]
    expected = [model.idm.prompt(code, given) + z + (model.codec.eos,) for given in (*read, ids[2])]
    assert [task.prompts[0] + row for row in task.rows] == expected
    assert task.texts == (t.next_state, t.next_state, None)
    with torch.no_grad():
        first, second, _ = LikelihoodReward(normalize="sum", floor=None)(
            rollouts, task, model.idm.policy
        ).total.tolist()
        prompts = [model.idm.prompt(code, given) for given in read]
        rows = [(*z, model.codec.eos)] * 2
        scores = model.idm.policy.logprobs(prompts, torch.arange(2), rows, [3, 3])
    assert [first, second] == pytest.approx(row_sum(scores.logp, scores.mask).tolist(), abs=1e-4)
    assert (first == pytest.approx(second, abs=1e-5)) == (reads != "written")


def test_the_whole_state_counts_as_length(phase_swirl):
    """A next state that is too long to be read whole is refused, however short its edit is."""
    model, data = phase_swirl(idm={"reads": "full"})
    t = max(data.state_only, key=lambda t: len(t.next_state))
    edits, _ = phase_swirl()
    whole, edit = model.codec.encode(t).length, edits.codec.encode(t).length
    assert whole > edit
    model.codec.max_tokens, model.codec._cache = whole - 1, {}
    with pytest.raises(InputError, match=f"{whole} tokens in all"):
        model.codec.encode(t)


def test_the_plan_knows_that_whole_states_are_scored(toy_swirl):
    shapes = [toy_swirl(idm={"reads": reads})._shape() for reads in FORMS]
    rows = [next(p.row for p in s.reinforce(s.fwm, s.idm, 2) if p.name == "idm rewards") for s in shapes]
    assert rows[0] == rows[1] < rows[2] >= shapes[2].max_tokens


def test_a_run_and_its_checkpoint(toy_swirl, toy_data, toy_trainer):
    """A run learns so, and its results name what it read."""
    trainer = toy_trainer("sft", "vim", "elbo", updates=1, limit_val_batches=None)
    trainer.fit(toy_swirl(idm={"reads": "full"}), datamodule=toy_data())
    assert len(json.loads((trainer.run_dir / "results.json").read_text())["stages"]) == 3


def test_an_unknown_form_is_refused():
    with pytest.raises(InputError, match=r"model\.idm\.reads: found 'whole', expected one of written, full, delta"):
        InverseDynamicsModel(reads="whole")
