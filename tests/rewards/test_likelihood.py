"""The frozen role's log-probability as a reward, against whole texts through the model."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from swirl_lightning.algorithms.grpo import group_advantages
from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.rewards import LikelihoodReward, Rewards, ScoringTask, WeightedSum
from swirl_lightning.types import InputError

PROMPTS = ((7, 8, 9), (30, 31))
ROWS = ((11, 12, 40, 41, 0), (40, 41, 0), (13, 50, 0), (14, 15, 16, 17, 50, 0))
SCORED = (3, 3, 2, 2)
PROMPT_OF = (0, 0, 1, 1)


@pytest.fixture
def case(ready_swirl):
    """Two groups of two rows, the last row unfinished; the scorer is the IDM with weights that tell rows apart."""
    model, _ = ready_swirl()
    with torch.no_grad():
        for parameter in model.weights.named("idm").values():
            parameter.mul_(4)
    rollouts = Rollouts(
        prompts=PROMPTS,
        completions=((11, 12), (), (13,), (14, 15, 16, 17)),
        prompt_of=torch.tensor(PROMPT_OF),
        row_of=torch.tensor([[0, 1, 0], [2, 3, 3]]),
        ids=torch.zeros(4, 4, dtype=torch.long),
        mask=torch.ones(4, 4, dtype=torch.bool),
        finished=torch.tensor([True, True, True, False]),
        logp=torch.zeros(4, 4),
    )
    task = ScoringTask(
        PROMPTS, ROWS, SCORED, transitions=(), texts=tuple(f"text {n}" for n in range(len(ROWS))), writes="y"
    )
    expected = []
    for p, row, scored in zip(PROMPT_OF, ROWS, SCORED, strict=True):
        ids = torch.tensor([PROMPTS[p] + row])
        with torch.no_grad():
            logp = torch.log_softmax(model.idm.policy.weights.activate("idm")(input_ids=ids).logits[0, :-1], -1)
        expected.append(logp.gather(1, ids[0, 1:, None])[-scored:, 0])
    return rollouts, task, model.idm.policy, expected


@pytest.mark.parametrize("normalize", ["mean", "sum"])
@pytest.mark.parametrize("floor", [None, -4.0, -1000.0])
def test_against_whole_texts(case, normalize, floor):
    rollouts, task, scorer, expected = case
    rewards = LikelihoodReward(normalize, floor)(rollouts, task, scorer)
    sums = torch.stack([logp.sum() for logp in expected])
    value = sums / torch.tensor(SCORED if normalize == "mean" else 1)
    if floor is not None:
        value = value.clamp(min=floor)
    lowest = floor if floor is not None else (-10.0 if normalize == "mean" else -20.0)
    value[3] = lowest
    torch.testing.assert_close(rewards.total, value, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rewards.parts["sequence_logp"], sums, atol=1e-4, rtol=1e-4)
    assert not rewards.total.requires_grad


def test_a_malformed_completion_is_no_answer(case):
    rollouts, task, scorer, _ = case
    whole = LikelihoodReward(floor=-20.0)(rollouts, task, scorer).total
    malformed = replace(task, texts=tuple(None if n == 1 else text for n, text in enumerate(task.texts)))
    rewards = LikelihoodReward(floor=-20.0)(rollouts, malformed, scorer)
    torch.testing.assert_close(rewards.total, torch.tensor([whole[0], -20.0, whole[2], -20.0]))
    assert (whole[:3] > -20.0).all()


def test_no_gradient_into_a_trainable_scorer(case):
    rollouts, task, scorer, _ = case
    scorer.weights.set_trainable("idm")
    assert not LikelihoodReward()(rollouts, task, scorer).total.requires_grad
    assert scorer.gradient_tokens == 0


def test_weighted_sum(case):
    rollouts, task, scorer, expected = case

    class Length:
        def __call__(self, rollouts, task, scorer):
            return Rewards(torch.tensor([float(len(c)) for c in rollouts.completions]), {"half": torch.full((4,), 0.5)})

    rewards = WeightedSum([LikelihoodReward("sum", None), Length()], [0.5, -2.0])(rollouts, task, scorer)
    likelihood = LikelihoodReward("sum", None)(rollouts, task, scorer).total
    lengths = torch.tensor([2.0, 0.0, 1.0, 4.0])
    torch.testing.assert_close(rewards.total, 0.5 * likelihood - 2 * lengths)
    assert set(rewards.parts) == {"LikelihoodReward", "sequence_logp", "Length", "half"}
    assert torch.equal(rewards.parts["LikelihoodReward"], likelihood)
    torch.testing.assert_close(rewards.parts["sequence_logp"], torch.stack([e.sum() for e in expected]))


def test_weighted_sum_needs_a_weight_each():
    with pytest.raises(InputError, match="1 rewards but 2 weights"):
        WeightedSum([LikelihoodReward()], [1.0, 2.0])


@pytest.mark.parametrize("precision", ["float32", "own"])
def test_precision_of_the_scores(precision, case, toy_swirl, monkeypatch):
    """What the rewards are scored in, and what the memory plan takes them to be scored in."""
    rollouts, task, scorer, _ = case
    widened = []
    monkeypatch.setattr(scorer.weights, "scoring_precision", lambda: widened.append(True) or nullcontext())
    reward = LikelihoodReward(precision=precision)
    reward(rollouts, task, scorer)
    assert bool(widened) == (precision == "float32")
    for model in (toy_swirl(reward=reward), toy_swirl(vim_reward=reward, reward=reward)):
        asked = [p for p in model._shape().reinforce(model._shape().fwm, model._shape().idm, 4) if "rewards" in p.name]
        assert [p.exact for p in asked] == [precision == "float32"]
    assert toy_swirl(reward=reward, vim_reward=LikelihoodReward())._shape().exact_rewards  # one of them is


@pytest.mark.parametrize("normalize", ["mean", "sum"])
def test_what_is_no_answer_gets_the_worst_reward_of_its_group(normalize, case):
    rollouts, task, scorer, _ = case  # the last row, of the second group, has no end
    plain = LikelihoodReward(normalize, floor=None)(rollouts, task, scorer).total
    worst = LikelihoodReward(normalize, floor=None, invalid="worst")(rollouts, task, scorer).total
    assert torch.equal(worst[:3], plain[:3])
    assert plain[3] < worst[3] == worst[2]
    broken = replace(task, texts=(None, "text", None, None))  # of one group a row is left, of the other none
    worst = LikelihoodReward(normalize, floor=-99.0, invalid="worst")(rollouts, broken, scorer).total
    assert torch.equal(worst[:2], plain[1].expand(2))
    assert worst[2:].tolist() == [-99, -99]


def test_valid_completions_keep_their_advantages_beside_an_invalid_one():
    """At the floor one invalid completion takes nearly all of the spread; as the worst one it takes none of it."""
    floor, worst = (group_advantages(torch.tensor([[-0.4, -0.5, -0.6, lowest]])) for lowest in (-10.0, -0.6))
    assert (floor[0, 0] - floor[0, 2]).abs() < 0.1
    assert (worst[0, 0] - worst[0, 2]).abs() > 1
