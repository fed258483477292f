import math

import pytest
import torch

from swirl_lightning.algorithms.objectives import (
    elbo_bound,
    information_bound,
    kl_estimate,
    sequence_reward,
)

LOGP = torch.tensor([[-1.0, -3.0, math.nan], [-40.0, -20.0, -30.0], [-math.inf, -1.0, 0.0]])
MASK = torch.tensor([[True, True, False], [True, True, True], [True, True, False]])


@pytest.mark.parametrize(
    ("settings", "want"),
    [
        ({}, [-2.0, -10.0, -10.0]),
        ({"floor": None}, [-2.0, -30.0, -math.inf]),
        ({"normalize": "sum", "floor": None}, [-4.0, -90.0, -math.inf]),
        ({"normalize": "sum", "floor": -50.0}, [-4.0, -50.0, -50.0]),
    ],
)
def test_sequence_reward(settings, want):
    assert sequence_reward(LOGP, MASK, **settings).tolist() == want


def test_kl_estimates_average_to_the_kl():
    logits = torch.randn(2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logp, ref = logits.log_softmax(-1)
    exact = (logp.exp() * (logp - ref)).sum()
    for kind in ("k1", "k3"):
        torch.testing.assert_close((logp.exp() * kl_estimate(logp, ref, kind)).sum(), exact)
    assert (kl_estimate(logp, ref, "k3") >= 0).all()
    assert (kl_estimate(logp, ref, "k1") < 0).any()


def test_kl_estimates_have_the_gradients_the_docstring_states():
    generator = torch.Generator().manual_seed(0)
    logits, ref_logits = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    logp, ref = logits.requires_grad_().log_softmax(-1), ref_logits.log_softmax(-1)

    def gradient(x):
        return torch.autograd.grad(x, logits, retain_graph=True)[0]

    as_loss = {kind: gradient((logp.exp().detach() * kl_estimate(logp, ref, kind)).sum()) for kind in ("k1", "k3")}
    as_reward = gradient((logp.exp().detach() * kl_estimate(logp, ref, "k1").detach() * logp).sum())
    torch.testing.assert_close(as_loss["k1"], torch.zeros(5, dtype=torch.float64))
    torch.testing.assert_close(as_loss["k3"], gradient((ref.exp() * (ref - logp)).sum()))
    torch.testing.assert_close(as_reward, gradient((logp.exp() * (logp - ref)).sum()))


def test_bounds():
    assert information_bound(torch.tensor([-1.0, -2.0]), 2.5).item() == 1.0
    logp, kl = torch.tensor([-1.0, -2.0]), torch.tensor([0.5, 1.5])
    assert elbo_bound(logp, kl).item() == -2.5
    assert elbo_bound(logp, kl, beta=0.5).item() == -2.0
