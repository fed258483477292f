"""The paper's two theorems and the policy gradient on a world small enough to enumerate exactly, in float64.

Shape letters: X states, Y next states, Z actions; S contexts of a policy and A its outcomes (a context is (x, z) and an
outcome y for the forward model, (x, y) and z for the inverse model); P prompts, G samples per prompt.
"""

import itertools
import math

import pytest
import torch

from swirl_lightning.algorithms.grpo import group_advantages, grpo_loss, loss_normalizer
from swirl_lightning.algorithms.objectives import elbo_bound, information_bound, kl_estimate, sequence_reward

X, Y, Z = 2, 4, 3
F64 = torch.float64


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def random_logits(*shape, generator, scale=1.5):
    return scale * torch.randn(*shape, generator=generator, dtype=F64)


def random_world(seed):
    """Data distribution D(x, y), forward logits [X, Z, Y], inverse logits [X, Y, Z] and prior logits [X, Z]."""
    generator = seeded(seed)
    data_XY = random_logits(X * Y, generator=generator).softmax(-1).view(X, Y)
    forward_XZY = random_logits(X, Z, Y, generator=generator)
    inverse_XYZ = random_logits(X, Y, Z, generator=generator)
    prior_XZ = random_logits(X, Z, generator=generator).log_softmax(-1)
    return data_XY, forward_XZY, inverse_XYZ, prior_XZ


def reward_of(logp):
    """The theorems' reward: the plain log-probability of the target, which has one token here."""
    one_token = logp.reshape(-1, 1)
    mask = torch.ones_like(one_token, dtype=torch.bool)
    return sequence_reward(one_token, mask, normalize="sum", floor=None).view(logp.shape)


# Theorem 3.1


def labels(data_XY, inverse_XYZ):
    """D(x) P~(z | x), the joint distribution of the state and the inverse model's action. [X, Z]"""
    return torch.einsum("xy,xyz->xz", data_XY, inverse_XYZ.softmax(-1))


def vim_objective(data_XY, forward_XZY, inverse_XYZ):
    """J of theorem 3.1."""
    reward_XZY = reward_of(inverse_XYZ.log_softmax(-1)).transpose(1, 2)
    return (labels(data_XY, inverse_XYZ)[..., None] * forward_XZY.softmax(-1) * reward_XZY).sum()


def vim_bound(data_XY, forward_XZY, inverse_XYZ):
    """H(Z | X) + J."""
    joint_XZ = labels(data_XY, inverse_XYZ)
    entropy = -(joint_XZ * (joint_XZ / joint_XZ.sum(1, keepdim=True)).log()).sum()
    return information_bound(vim_objective(data_XY, forward_XZY, inverse_XYZ)[None], entropy)


def mutual_information(data_XY, forward_XZY, inverse_XYZ):
    """I(Z; Y^ | X) under D(x) P~(z | x) P(y^ | x, z)."""
    joint_XZY = labels(data_XY, inverse_XYZ)[..., None] * forward_XZY.softmax(-1)
    x, xz, xy = joint_XZY.sum((1, 2), keepdim=True), joint_XZY.sum(2, keepdim=True), joint_XZY.sum(1, keepdim=True)
    return (joint_XZY * (joint_XZY * x / (xz * xy)).log()).sum()


def test_theorem_31_bounds_the_information():
    gaps = []
    for seed in range(300):
        world = random_world(seed)[:3]
        gaps.append((mutual_information(*world) - vim_bound(*world)).item())
    assert min(gaps) >= -1e-12


def test_theorem_31_is_tight_at_the_posterior():
    """With D(y | x) the forward model's own output, its posterior is an inverse model that makes the bound exact."""
    data_XY, forward_XZY, _, prior_XZ = random_world(0)
    state_X = data_XY.sum(1)
    joint_XZY = prior_XZ.exp()[..., None] * forward_XZY.softmax(-1)
    world = (state_X[:, None] * joint_XZY.sum(1), forward_XZY, joint_XZY.transpose(1, 2).log())
    torch.testing.assert_close(vim_bound(*world), mutual_information(*world), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_exact_vim_ascent_is_monotone(seed):
    data_XY, forward_XZY, inverse_XYZ, _ = random_world(seed)
    bounds = exact_ascent(forward_XZY, lambda logits: vim_bound(data_XY, logits, inverse_XYZ))
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(bounds))
    assert bounds[-1] > bounds[0] + 0.1


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_sampled_vim_raises_the_bound(scale):
    data_XY, forward_XZY, inverse_XYZ, _ = random_world(0)
    reward_SA = reward_of(inverse_XYZ.log_softmax(-1)).transpose(1, 2).reshape(X * Z, Y)
    forward_SA, generator = forward_XZY.reshape(X * Z, Y).clone().requires_grad_(), seeded(1)
    for _ in range(200):
        pair_P = torch.multinomial(data_XY.flatten(), 16, replacement=True, generator=generator)
        z_P = torch.multinomial(inverse_XYZ.softmax(-1).view(X * Y, Z)[pair_P], 1, generator=generator)[:, 0]
        sgd(forward_SA, sampled_loss(forward_SA, pair_P // Y * Z + z_P, reward_SA, 8, generator, scale=scale))
    start = vim_bound(data_XY, forward_XZY, inverse_XYZ)
    end = vim_bound(data_XY, forward_SA.detach().view(X, Z, Y), inverse_XYZ)
    best = vim_bound(data_XY, 1e3 * reward_SA.view(X, Z, Y), inverse_XYZ)
    assert end > start + 0.5 * (best - start)


# Theorem 3.2


def evidence(forward_XZY, prior_XZ):
    """log P(y | x) = log sum_z prior(z | x) P(y | x, z). [X, Y]"""
    return (prior_XZ[..., None] + forward_XZY.log_softmax(-1)).logsumexp(1)


def elbo(forward_XZY, inverse_XYZ, prior_XZ):
    """The ELBO of every pair. [X, Y]"""
    logp_XYZ = reward_of(forward_XZY.log_softmax(-1)).transpose(1, 2)
    logq_XYZ = inverse_XYZ.log_softmax(-1)
    kl_XY = (logq_XYZ.exp() * kl_estimate(logq_XYZ, prior_XZ[:, None], "k1")).sum(-1)
    expected_XY = (logq_XYZ.exp() * logp_XYZ).sum(-1)
    pairs = [elbo_bound(e[None], k[None]) for e, k in zip(expected_XY.flatten(), kl_XY.flatten(), strict=True)]
    return torch.stack(pairs).view(X, Y)


def test_theorem_32_bounds_the_evidence_of_every_pair():
    gaps = []
    for seed in range(100):
        _, forward_XZY, inverse_XYZ, prior_XZ = random_world(seed)
        gaps.append(evidence(forward_XZY, prior_XZ) - elbo(forward_XZY, inverse_XYZ, prior_XZ))
    assert torch.stack(gaps).min() >= -1e-12


def test_theorem_32_is_tight_at_the_posterior():
    _, forward_XZY, _, prior_XZ = random_world(0)
    posterior_XYZ = (prior_XZ[..., None] + forward_XZY.log_softmax(-1)).transpose(1, 2)
    bound_XY = elbo(forward_XZY, posterior_XYZ, prior_XZ)
    torch.testing.assert_close(bound_XY, evidence(forward_XZY, prior_XZ), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_exact_elbo_ascent_is_monotone(seed):
    data_XY, forward_XZY, inverse_XYZ, prior_XZ = random_world(seed)
    bounds = exact_ascent(inverse_XYZ, lambda logits: (data_XY * elbo(forward_XZY, logits, prior_XZ)).sum())
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(bounds))
    assert bounds[-1] > bounds[0] + 0.1


@pytest.mark.parametrize("kl_in", ["reward", "loss"])
@pytest.mark.parametrize("scale", ["group", "none"])
def test_sampled_elbo_phase_raises_the_bound(scale, kl_in):
    data_XY, forward_XZY, inverse_XYZ, prior_XZ = random_world(0)
    logp_SA = reward_of(forward_XZY.log_softmax(-1)).transpose(1, 2).reshape(X * Y, Z)
    prior_SA = prior_XZ.repeat_interleave(Y, dim=0)
    inverse_SA, generator = inverse_XYZ.reshape(X * Y, Z).clone().requires_grad_(), seeded(1)
    for _ in range(200):
        pair_P = torch.multinomial(data_XY.flatten(), 16, replacement=True, generator=generator)
        settings = {"scale": scale}
        if kl_in == "loss":
            reward_SA, settings = logp_SA, settings | {"ref_SA": prior_SA, "beta": 1.0}
        else:
            reward_SA = logp_SA - kl_estimate(inverse_SA.detach().log_softmax(-1), prior_SA, "k1")
        sgd(inverse_SA, sampled_loss(inverse_SA, pair_P, reward_SA, 8, generator, **settings))

    def bound(logits):
        return (data_XY * elbo(forward_XZY, logits.view(X, Y, Z), prior_XZ)).sum()

    start, end = bound(inverse_XYZ), bound(inverse_SA.detach())
    best = (data_XY * evidence(forward_XZY, prior_XZ)).sum()
    # Only the KL in the reward aims at the ELBO itself, see kl_estimate.
    assert end > start + (0.9 if kl_in == "reward" else 0.5) * (best - start)


# Variational EM (docs/variational_em.md)


def mean_elbo(data_XY, forward_XZY, inverse_XYZ, prior_XZ):
    return (data_XY * elbo(forward_XZY, inverse_XYZ, prior_XZ)).sum()


@pytest.mark.parametrize("seed", range(3))
def test_supervised_training_on_the_inverse_models_actions_is_the_m_step(seed):
    """In expectation over (x, y) and z ~ Q its loss has minus the bound's gradient in theta; its minimum is higher."""
    data_XY, forward_XZY, inverse_XYZ, prior_XZ = random_world(seed)
    forward_XZY.requires_grad_()
    (expected,) = torch.autograd.grad(mean_elbo(data_XY, forward_XZY, inverse_XYZ, prior_XZ), forward_XZY)
    joint_XYZ = data_XY[..., None] * inverse_XYZ.softmax(-1)
    loss = -(joint_XYZ * forward_XZY.log_softmax(-1).transpose(1, 2)).sum()
    (gradient,) = torch.autograd.grad(loss, forward_XZY)
    torch.testing.assert_close(-gradient, expected, rtol=1e-10, atol=1e-12)
    before = mean_elbo(data_XY, forward_XZY, inverse_XYZ, prior_XZ)
    fitted_XZY = joint_XYZ.transpose(1, 2).log()  # P(y | x, z) by counting
    after = mean_elbo(data_XY, fitted_XZY, inverse_XYZ, prior_XZ)
    assert after > before + 0.1
    assert after >= mean_elbo(data_XY, fitted_XZY + 0.1 * forward_XZY.detach(), inverse_XYZ, prior_XZ)


@pytest.mark.parametrize("seed", range(3))
def test_em_never_lowers_the_evidence(seed):
    """E-step: the posterior. M-step: as above. The evidence rises with every round, the bound with every step."""
    data_XY, forward_XZY, inverse_XYZ, prior_XZ = random_world(seed)
    bounds, evidences = [], []
    for _ in range(20):
        evidences.append(float((data_XY * evidence(forward_XZY, prior_XZ)).sum()))
        bounds.append(float(mean_elbo(data_XY, forward_XZY, inverse_XYZ, prior_XZ)))
        inverse_XYZ = (prior_XZ[..., None] + forward_XZY.log_softmax(-1)).transpose(1, 2)
        bounds.append(float(mean_elbo(data_XY, forward_XZY, inverse_XYZ, prior_XZ)))
        forward_XZY = (data_XY[..., None] * inverse_XYZ.softmax(-1)).transpose(1, 2).log()
    for values in (bounds, evidences):
        assert all(b >= a - 1e-12 for a, b in itertools.pairwise(values))
        assert values[-1] > values[0] + 0.1


@pytest.mark.parametrize("scale", ["group", "none"])
def test_what_does_not_depend_on_the_action_changes_no_update(scale):
    """A reward relative to log P(y | x) has the advantages of the plain one."""
    generator = seeded(4)
    reward_PG = random_logits(6, 5, generator=generator)
    relative_PG = reward_PG - random_logits(6, 1, generator=generator)
    torch.testing.assert_close(group_advantages(relative_PG, scale=scale), group_advantages(reward_PG, scale=scale))


# The policy gradient


@pytest.mark.parametrize("phase", ["vim", "elbo"])
@pytest.mark.parametrize("group_size", [2, 64])
def test_grpo_estimates_the_policy_gradient(phase, group_size):
    """Mean of the sampled gradients = the exact one, within four standard errors in every coordinate.

    The group's mean contains the sample itself: E[(r_g - mean_j r_j) grad log pi(o_g)] = (1 - 1/G) E[r grad log pi],
    for j = g contributes E[r grad log pi] / G and j != g contributes E[r_j] E[grad log pi(o_g)] = 0. So without
    scaling GRPO follows (G - 1)/G times the policy gradient. The KL term has no such factor; the gradient of k3 is that
    of KL(ref || pi).
    """
    data_XY, forward_XZY, inverse_XYZ, prior_XZ = random_world(3)
    if phase == "vim":
        logits_SA = forward_XZY.reshape(X * Z, Y)
        reward_SA = reward_of(inverse_XYZ.log_softmax(-1)).transpose(1, 2).reshape(X * Z, Y)
        context_S = labels(data_XY, inverse_XYZ).flatten()
        ref_SA = random_logits(X * Z, Y, generator=seeded(5)).log_softmax(-1)
    else:
        logits_SA = inverse_XYZ.reshape(X * Y, Z)
        reward_SA = reward_of(forward_XZY.log_softmax(-1)).transpose(1, 2).reshape(X * Y, Z)
        context_S, ref_SA = data_XY.flatten(), prior_XZ.repeat_interleave(Y, dim=0)
    logits_SA, beta, generator = logits_SA.clone().requires_grad_(), 0.5, seeded(7)

    def gradient(x):
        return torch.autograd.grad(x, logits_SA)[0]

    estimates = []
    for _ in range(100):
        context_P = torch.multinomial(context_S, 256, replacement=True, generator=generator)
        settings = {"scale": "none", "ref_SA": ref_SA, "beta": beta}
        estimates.append(gradient(sampled_loss(logits_SA, context_P, reward_SA, group_size, generator, **settings)))
    mean_SA = torch.stack(estimates).mean(0)
    error_SA = torch.stack(estimates).std(0) / math.sqrt(len(estimates))

    reward_grad_SA = gradient((context_S[:, None] * logits_SA.softmax(-1) * reward_SA).sum())
    kl_grad_SA = gradient((context_S[:, None] * ref_SA.exp() * (ref_SA - logits_SA.log_softmax(-1))).sum())
    exact_SA = beta * kl_grad_SA - (1 - 1 / group_size) * reward_grad_SA
    assert ((mean_SA - exact_SA).abs() < 4 * error_SA).all()
    # The errors are small enough to tell a missing term.
    wrong = [exact_SA + reward_grad_SA / 2, exact_SA - beta * kl_grad_SA]
    assert all(((mean_SA - w_SA).abs() > 8 * error_SA).any() for w_SA in wrong)


def exact_ascent(logits, objective, steps=200, learning_rate=0.5):
    """Values of the objective along plain gradient ascent."""
    logits, values = logits.clone().requires_grad_(), []
    for _ in range(steps):
        value = objective(logits)
        values.append(value.item())
        sgd(logits, -value, learning_rate)
    return values


def sampled_loss(logits_SA, context_P, reward_SA, group_size, generator, *, scale, ref_SA=None, beta=0.0):
    """An on-policy GRPO loss of real samples. Rows are the outcomes, weighted by how often they were drawn."""
    logp_PA = logits_SA.log_softmax(-1)[context_P]
    sample_PG = torch.multinomial(logp_PA.exp().detach(), group_size, replacement=True, generator=generator)
    adv_PG = group_advantages(reward_SA[context_P].gather(1, sample_PG), scale=scale)
    adv_PA = torch.zeros_like(reward_SA[context_P]).scatter(1, sample_PG, adv_PG)
    weight_N = torch.zeros_like(adv_PA).scatter_add(1, sample_PG, torch.ones_like(adv_PG)).flatten()
    logp_N1 = logp_PA.reshape(-1, 1)
    mask_N1 = torch.ones_like(logp_N1, dtype=torch.bool)
    return grpo_loss(
        logp_N1,
        logp_N1.detach(),
        None if ref_SA is None else ref_SA[context_P].reshape(-1, 1),
        adv_PA.flatten(),
        mask_N1,
        weight_N,
        beta=beta,
        normalizer=loss_normalizer(mask_N1, weight_N, loss="grpo", max_tokens=1),
    ).loss


def sgd(logits, loss, learning_rate=0.5):
    (gradient,) = torch.autograd.grad(loss, logits)
    with torch.no_grad():
        logits -= learning_rate * gradient
