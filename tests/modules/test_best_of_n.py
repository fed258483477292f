"""Best of N at test time: what is drawn, what the IDM says of it, what is chosen."""

import json
from dataclasses import replace

import pytest
import torch

from swirl_lightning.callbacks.best_of_n import BestOfN
from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.metrics import PredictionMetric
from swirl_lightning.modules.best_of_n import Candidates, best_of_n, best_rows
from swirl_lightning.types import InputError


def test_the_highest_score_wins_and_the_first_of_equals():
    scores = torch.tensor([-2.0, -1.0, -1.0, -torch.inf, -5.0, -torch.inf])
    assert best_rows(scores, torch.tensor([0, 0, 0, 1, 1, 2])) == [1, 4, 5]


def test_the_choice_is_what_the_idm_finds_most_probable(phase_swirl, whole_text_logps):
    model, data = phase_swirl(scale=4.0)
    model.codec.next_state = lambda state, ids: f"{state}|{ids}"  # any completion is a state
    batch, layout = data.test, model.codec.prompts()
    for t, found in zip(batch, best_of_n(model, batch, 5, seed=3), strict=True):
        code = model.codec.encode(t)
        assert found.first in found.distinct
        assert 1 < len(set(found.distinct)) == len(found.distinct) <= 5
        scores = {}
        for text in found.distinct:
            ids = tuple(json.loads("[" + text.rpartition("|(")[2].rstrip(",)") + "]"))
            ended = len(ids) < model.fwm.max_new_tokens
            prompt = layout.inverse(code.x, ids)
            logp = whole_text_logps(model.idm.policy, prompt, (*code.z, model.codec.eos)).detach().mean()
            scores[text] = float(logp) if ended else -torch.inf
        assert scores[found.best] == pytest.approx(max(scores.values()), abs=1e-5)


def test_draws_belong_to_the_transition(phase_swirl):
    model, data = phase_swirl(scale=4.0)
    model.codec.next_state = lambda state, ids: f"{state}|{ids}"
    together = best_of_n(model, data.test, 4, seed=1)
    assert together == [best_of_n(model, [t], 4, seed=1)[0] for t in data.test]
    assert together != best_of_n(model, data.test, 4, seed=2)
    assert together != best_of_n(model, [replace(t, step=9) for t in data.test], 4, seed=1)
    assert [c.first for c in together] == [c.best for c in best_of_n(model, data.test, 1, seed=1)]


@pytest.mark.parametrize("ended", [True, False])
def test_what_is_no_state_or_has_no_end_is_chosen_only_where_there_is_no_other(phase_swirl, ended):
    model, data = phase_swirl(scale=40.0)
    generate, good = model.fwm.policy.generate, {}

    def with_one_good(*args, **kwargs):
        """Of each prompt's completions, the last alone has an end and is a state."""
        rollouts = generate(*args, **kwargs)
        good.update(zip(rollouts.prompt_of.tolist(), rollouts.completions, strict=True))
        last = torch.tensor([c in good.values() for c in rollouts.completions])
        return replace(rollouts, finished=last if ended else torch.ones_like(last))

    model.fwm.policy.generate = with_one_good
    model.codec.next_state = lambda state, ids: str(ids) if ended or ids in good.values() else None
    found = best_of_n(model, data.test, 6)
    assert min(len(c.distinct) for c in found) > 2
    assert [c.best for c in found] == [str(good[p]) for p in range(len(found))]


def test_an_action_is_needed(phase_swirl):
    model, data = phase_swirl()
    with pytest.raises(InputError, match="found one without an action"):
        best_of_n(model, data.state_only[:1], 2)


class Unmoved(PredictionMetric):
    """1 where the chosen next state is the state; it is told the true action."""

    def update(self, transitions, predictions):
        self.add([float(p == (t.action, t.state)) for t, p in zip(transitions, predictions, strict=True)])


@pytest.fixture
def counted(toy_data, toy_trainer, toy_swirl, monkeypatch):
    """The callback at its place, with metrics of the environment's own."""
    monkeypatch.setattr(TransitionDataModule, "metrics", lambda self: {"fwm_same": Unmoved(), "idm_same": Unmoved()})
    callback, trainer = BestOfN(n=3), toy_trainer("sft")
    trainer.datamodule = toy_data()
    callback.setup(trainer, toy_swirl(), "fit")
    return callback


def test_figures(counted, transitions):
    a, b = transitions[:2]
    right, wrong = Candidates(a.next_state, "off", ("off", a.next_state)), Candidates(b.state, b.next_state, ())
    missed = right._replace(best=None)
    counted.update([a, a, b], [right, missed, wrong._replace(distinct=(b.state, b.next_state))])
    values = counted.compute()
    assert values.pop("fwm/best_of_n/token_f1") > 1 / 3
    assert values == {
        "fwm/best_of_n/exact_match": pytest.approx(1 / 3),
        "fwm/best_of_n/delta_f1": pytest.approx(1 / 3),
        "fwm/best_of_n/first_exact_match": pytest.approx(1 / 3),
        "fwm/best_of_n/oracle_exact_match": 1,
        "fwm/best_of_n/same": pytest.approx(1 / 3),
    }
    counted.update([a], [right])
    assert counted.compute()["fwm/best_of_n/exact_match"] == 1  # nothing is left of the first three


def test_in_a_run(toy_data, toy_trainer, toy_swirl, monkeypatch):
    """The test split is measured after every stage but pretraining, and stands in results.json and in `swirl test`."""
    seen = []

    def answers(model, batch, n, seed):
        seen.append(len(batch))
        return [Candidates(t.next_state, None, (None, t.next_state)) for t in batch]

    monkeypatch.setattr("swirl_lightning.callbacks.best_of_n.best_of_n", answers)
    trainer = toy_trainer("pretrain", "sft", updates=1, limit_val_batches=None, callbacks=[BestOfN(n=2)])
    model, data = toy_swirl(), toy_data()
    trainer.fit(model, datamodule=data)
    assert seen == [3]
    pretrained, warm = json.loads((trainer.run_dir / "results.json").read_text())["stages"]
    assert not any("best_of_n" in name for name in pretrained["metrics"])
    assert warm["metrics"]["fwm/best_of_n/exact_match"] == 1
    assert warm["metrics"]["fwm/best_of_n/first_exact_match"] == 0
    assert not any("best_of_n" in name for name in warm["validation"])
    (logged,) = trainer.test(model, datamodule=data, verbose=False)
    assert logged["fwm/best_of_n/oracle_exact_match"] == 1
    assert model.results["test"]["fwm/best_of_n/exact_match"] == 1


def test_n_must_be_positive():
    with pytest.raises(InputError, match=r"BestOfN\.n: found 0, expected at least 1"):
        BestOfN(n=0)
