"""Scores of plans and of claims against plain computations with the same policies."""

import math
from dataclasses import replace

import pytest

from swirl_lightning.metrics.choice import Claim, Plans
from swirl_lightning.modules.disc_edit import disc_edit
from swirl_lightning.modules.plan_choice import plan_likelihoods, plan_similarities
from swirl_lightning.modules.prediction import predict_next


@pytest.fixture
def ready(phase_swirl):
    model, data = phase_swirl(scale=6.0)
    episode = tuple(t for t in data.test if t.episode == data.test[0].episode)
    assert len(episode) > 1
    done = tuple(t.action for t in episode)
    plans = Plans(episode, (done[::-1], done, ("open the door", *done[1:]), done[:1]), 1)
    return model, plans


@pytest.mark.parametrize("role", ["fwm", "idm"])
def test_likelihoods_against_whole_texts(ready, whole_text_logps, role):
    model, plans = ready
    layout, end = model.codec.prompts(), model.codec.eos
    want = []
    for plan in plans.candidates[:3]:
        total = 0.0
        for t, action in zip(plans.episode, plan, strict=True):
            code = model.codec.encode(replace(t, action=action))
            if role == "fwm":
                logp = whole_text_logps(model.fwm.policy, layout.forward(code.x, code.z), (*code.y, end))
            else:
                logp = whole_text_logps(model.idm.policy, layout.inverse(code.x, code.y), (*code.z, end))
            total += float(logp.detach().sum())
        want.append(total)
    found = plan_likelihoods(model, plans, role)
    assert found[:3] == pytest.approx(want, abs=1e-3)
    assert math.isnan(found[3])  # of another number of steps
    assert len({round(score, 2) for score in want}) == 3
    short = Plans(plans.episode, (plans.candidates[3],), 0)
    assert all(math.isnan(score) for score in plan_likelihoods(model, short, role))


def test_similarities_are_those_of_the_last_state_of_a_rollout(ready, monkeypatch):
    model, plans = ready
    seen = []

    def next_of(self, states, actions, environment=""):
        return [
            type("Next", (), {"state": f"{x}+{z}" if z != "stop" else None})
            for x, z in zip(states, actions, strict=True)
        ]

    monkeypatch.setattr("swirl_lightning.modules.open_loop.predict_next", next_of)
    plans = Plans(plans.episode, (("a", "b"), ("c",), ("a", "stop")), 0)
    first, last = plans.episode[0].state, plans.episode[-1].next_state
    found = plan_similarities(model, plans, lambda said, true: seen.append((said, true)) or len(seen))
    assert seen == [(f"{first}+a+b", last), (f"{first}+c", last)]
    assert found[:2] == [1, 2]
    assert math.isnan(found[2])


@pytest.fixture
def whole(ready, monkeypatch):
    """The FWM's completions all have an end, and stand for a state of their own."""
    model, plans = ready
    generate = model.fwm.policy.generate

    def ended(*args, **options):
        drawn = generate(*args, **options)
        return replace(drawn, finished=drawn.finished | True)

    monkeypatch.setattr(model.fwm.policy, "generate", ended)
    monkeypatch.setattr(type(model.codec), "next_state", lambda self, state, ids: repr(ids))
    return model, plans


def test_claims_are_told_apart_by_what_is_drawn_from_the_same_numbers(whole):
    """Each sample against ``predict_next``, which draws the first one of a seed."""
    model, plans = whole
    claims = [Claim(t.state, "open the door", t.action, "") for t in plans.episode]
    drawn = []

    def distance(said, state):
        drawn.append((said, state))
        return len(said)

    shares = disc_edit(model, claims, 3, 5, distance)
    assert len(drawn) == 2 * 3 * len(claims)
    for n, claim in enumerate(claims):
        pairs = drawn[6 * n : 6 * n + 6]
        assert {state for _, state in pairs} == {claim.state}
        first = predict_next(
            model, [claim.state] * 2, [claim.true, claim.false], sampling=model.fwm.sampling, seeds=[5, 5]
        )
        assert [said for said, _ in pairs[:2]] == [its.state for its in first]
        assert shares[n] == sum(len(a) < len(b) for (a, _), (b, _) in zip(pairs[::2], pairs[1::2], strict=True)) / 3


@pytest.mark.parametrize(("edits", "share"), [("ab", 0.0), ("ba", 1.0), ("aa", 0.0), ("a-", 0.0), ("-a", 0.0)])
def test_a_claim_by_hand(whole, edits, share, monkeypatch):
    """The true instruction gives the first picture, the false one the second; ``b`` is nearer, ``-`` is none."""
    model, plans = whole
    made = iter([None if its == "-" else its for its in edits])
    monkeypatch.setattr(type(model.codec), "next_state", lambda self, state, ids: next(made))
    claims = [Claim(plans.episode[0].state, "open the door", "shut the door", "")]
    assert disc_edit(model, claims, 1, 0, lambda said, state: {"a": 2.0, "b": 1.0}[said]) == [share]
