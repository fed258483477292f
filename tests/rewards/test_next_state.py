"""The reward for the observed next state, by hand and in a VIM phase; and what it is told where it has no place."""

from collections import Counter

import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer

from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.rewards import NextStateReward, ScoringTask
from swirl_lightning.types import InputError, Transition

STATE = "door shut\nlamp off\nsafe locked"
TRUTH = "door wide open\nlamp off\nsafe free"
TEXTS = {
    "right": TRUTH,
    "no change": STATE,
    "a line left out": "door wide open\nlamp off\nsafe locked",
    "nearly": "door open\nlamp off\nsafe free",
    "malformed": None,
    "no end": TRUTH,
}


def case(writes="y"):
    """One group: every text once, the last of them cut off."""
    count = len(TEXTS)
    rollouts = Rollouts(
        prompts=((1,),),
        completions=tuple((n,) for n in range(count)),
        prompt_of=torch.zeros(count, dtype=torch.long),
        row_of=torch.arange(count)[None],
        ids=torch.zeros(count, 1, dtype=torch.long),
        mask=torch.ones(count, 1, dtype=torch.bool),
        finished=torch.tensor([name != "no end" for name in TEXTS]),
        logp=torch.zeros(count, 1),
    )
    transitions = (Transition("e", 0, STATE, TRUTH),)
    return rollouts, ScoringTask(((1,),), ((2,),) * count, (1,) * count, transitions, tuple(TEXTS.values()), writes)


def rewards(reward):
    return dict(zip(TEXTS, reward(*case(), None).total.tolist(), strict=True))


def f1(said, true):
    said, true = Counter(said), Counter(true)
    return 2 * (said & true).total() / (said.total() + true.total())


def test_exact():
    assert rewards(NextStateReward("exact")) == {name: float(name == "right") for name in TEXTS}


def test_changed_lines():
    true = ["-door shut", "+door wide open", "-safe locked", "+safe free"]
    found = rewards(NextStateReward("changed_lines"))
    assert found["right"] == 1
    assert found["a line left out"] == pytest.approx(f1(true[:2], true))
    assert found["nearly"] == pytest.approx(f1(["-door shut", "+door open", *true[2:]], true))
    assert found["no change"] == found["malformed"] == found["no end"] == 0


def test_changed_tokens():
    true = ["-door", "-shut", "+door", "+wide", "+open", "-safe", "-locked", "+safe", "+free"]
    found = rewards(NextStateReward())
    assert found["right"] == 1
    assert found["a line left out"] == pytest.approx(f1(true[:5], true))
    assert found["nearly"] == pytest.approx(f1([token for token in true if token != "+wide"], true))
    assert found["a line left out"] < found["nearly"] < 1
    assert found["no change"] == found["malformed"] == found["no end"] == 0


def test_rouge_l():
    scorer, found = RougeScorer(["rougeL"]), rewards(NextStateReward("rouge_l"))
    for name in ("right", "no change", "a line left out", "nearly"):
        assert found[name] == pytest.approx(scorer.score(TRUTH, TEXTS[name])["rougeL"].fmeasure)
    assert found["no change"] > 0.5  # a measure of the whole state pays for copying it
    assert found["malformed"] == found["no end"] == 0


def test_a_threshold_makes_it_right_or_wrong():
    reward = NextStateReward("changed_tokens", threshold=0.9)
    whole = reward(*case(), None)
    assert dict(zip(TEXTS, whole.total.tolist(), strict=True)) == {n: float(n in ("right", "nearly")) for n in TEXTS}
    torch.testing.assert_close(whole.parts["similarity"], NextStateReward()(*case(), None).total)


def test_actions_are_refused():
    rollouts, task = case(writes="z")
    with pytest.raises(InputError, match=r"found actions to reward.*model\.vim_reward"):
        NextStateReward()(rollouts, task, None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"measure": "nearness"}, r"measure: found 'nearness', expected one of exact, "),
        ({"measure": "bertscore"}, r"encoder: found None with the measure 'bertscore', expected a model"),
        ({"encoder": "somewhere"}, r"encoder: found somewhere with the measure 'changed_tokens'"),
        ({"threshold": 0.0}, r"threshold: found 0\.0, expected .*above 0"),
        ({"threshold": float("nan")}, r"threshold: found nan"),
    ],
)
def test_wrong_options(options, said):
    with pytest.raises(InputError, match=said):
        NextStateReward(**options)
