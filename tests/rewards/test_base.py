"""What a reward may return: it is brought to the form that GRPO needs, or refused."""

import pytest
import torch

from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.rewards import Rewards
from swirl_lightning.rewards.base import checked
from swirl_lightning.types import InputError

N = 6
ROLLOUTS = Rollouts(
    prompts=((1,),),
    completions=tuple((n,) for n in range(N)),
    prompt_of=torch.zeros(N, dtype=torch.long),
    row_of=torch.arange(N)[None],
    ids=torch.zeros(N, 1, dtype=torch.long),
    mask=torch.ones(N, 1, dtype=torch.bool),
    finished=torch.ones(N, dtype=torch.bool),
    logp=torch.zeros(N, 1),
)


def mine(rollouts, task, scorer):
    raise AssertionError("not called")


@pytest.mark.parametrize(
    "total",
    [
        torch.arange(N),
        torch.arange(N) % 2 == 0,
        torch.arange(N, dtype=torch.float64),
        torch.arange(N, dtype=torch.bfloat16),
        torch.arange(N, dtype=torch.float32).requires_grad_() * 2,
    ],
)
def test_numbers_of_any_kind_become_float32_without_a_gradient(total):
    rewards = checked(Rewards(total, {"part": total}), mine, ROLLOUTS)
    for x in (rewards.total, rewards.parts["part"]):
        assert x.dtype == torch.float32
        assert not x.requires_grad
        torch.testing.assert_close(x, total.detach().float(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("rewards", "told"),
    [
        (None, "returned NoneType, expected .*Rewards"),
        (torch.zeros(N), "returned Tensor, expected .*Rewards"),
        (Rewards(torch.zeros(N), [torch.zeros(N)]), "the parts a dict"),
        (Rewards(torch.zeros(N - 1)), rf"its total a tensor of torch\.float32, \[{N - 1}\], expected a tensor \[{N}\]"),
        (Rewards(torch.zeros(N + 1)), rf"its total a tensor of torch\.float32, \[{N + 1}\]"),
        (Rewards(torch.zeros(N, 1)), rf"its total a tensor of torch\.float32, \[{N}, 1\]"),
        (Rewards(torch.zeros(N, dtype=torch.complex64)), r"a tensor of torch\.complex64"),
        (Rewards([0.0] * N), "its total list, expected"),
        (Rewards(torch.zeros(N), {"half": torch.zeros(1)}), r"its part 'half' a tensor of torch\.float32, \[1\]"),
    ],
)
def test_what_is_no_reward_is_refused(rewards, told):
    with pytest.raises(InputError, match="model.reward: .*function returned .*" + told.removeprefix("returned ")):
        checked(rewards, mine, ROLLOUTS)
