"""What the two phases of SWIRL (arXiv:2602.06130) reward, and the bounds that they raise. Everything is in nats.

Shape letters: N completions, T tokens of a completion.
Symbols: x state, z action, y next state; P(y | x, z) the forward world model, Q(z | x, y) the inverse dynamics model.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

KLKind = Literal["k1", "k3"]


def row_sum(x_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """Sum over the True positions of each row; what stands at the others is never read. [N]."""
    return x_NT.masked_fill(~mask_NT, 0.0).sum(dim=1)


def row_mean(x_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """Mean over the True positions of each row, NaN for a row that has none. [N]."""
    return row_sum(x_NT, mask_NT) / mask_NT.sum(dim=1)


def sequence_reward(
    logp_NT: Tensor,
    mask_NT: Tensor,
    *,
    normalize: Literal["mean", "sum"] = "mean",
    floor: float | None = -10.0,
) -> Tensor:
    """Turn the frozen model's log-probability of the target into a reward, in nats. [N].

    The target is z under the inverse dynamics model in the ``vim`` phase and y under the forward world model in the
    ``elbo`` phase. The default is the authors' release; ``normalize="sum", floor=None`` is the reward of theorems 3.1
    and 3.2.

    Args:
        logp_NT: log-probability of each target token.
        mask_NT: True on the target's tokens, its end token included.
        normalize: mean over the tokens of a row, or their sum.
        floor: smallest reward; None for no floor.
    """
    reward_N = row_mean(logp_NT, mask_NT) if normalize == "mean" else row_sum(logp_NT, mask_NT)
    return reward_N if floor is None else reward_N.clamp(min=floor)


def kl_estimate(logp: Tensor, ref_logp: Tensor, kind: KLKind) -> Tensor:
    """Estimate KL(pi || ref) from samples of pi, elementwise (Schulman 2020, "Approximating KL Divergence").

    Both are unbiased as values; k3 is never negative and varies less. As a *loss term* neither has the gradient of
    KL(pi || ref), for the derivative does not see that pi also draws the samples: k1 has E[grad log pi] = 0 and thus
    does nothing but add noise, k3 has E[(1 - ref / pi) grad log pi], the gradient of the reverse KL(ref || pi) (the
    two agree to first order near ref). The exact gradient of KL(pi || ref) comes from k1 in the *reward*.

    Args:
        logp: log pi of the sampled tokens.
        ref_logp: log ref of the same tokens.
        kind: ``k1`` is log(pi / ref), ``k3`` is ref / pi - log(ref / pi) - 1.
    """
    delta = ref_logp - logp
    return -delta if kind == "k1" else delta.exp() - delta - 1


def information_bound(logq_z_N: Tensor, entropy: Tensor | float) -> Tensor:
    """H(Z | X) + J, the lower bound of the mutual information I(Z; Y^ | X) of theorem 3.1. Scalar, nats.

    J = E log Q(z | x, y^) with (x, y) from the data, z ~ Q(. | x, y) and y^ ~ P(. | x, z) is what the ``vim`` phase
    maximises. The entropy is that of P~(z | x) = E_y Q(z | x, y); it does not depend on the forward world model.

    Args:
        logq_z_N: log Q(z | x, y^) of N draws, summed over the tokens of z.
        entropy: H(Z | X) of the actions z, in nats.
    """
    return logq_z_N.mean() + entropy


def elbo_bound(logp_y_N: Tensor, kl_N: Tensor, beta: float = 1.0) -> Tensor:
    """E[log P(y | x, z)] - beta * KL(Q(z | x, y) || prior), the ELBO of theorem 3.2. Scalar, nats.

    It bounds log P(y | x) = log sum_z prior(z | x) P(y | x, z) from below only if ``beta`` is 1 (or more), the
    log-probabilities are sums over tokens and the prior sees x alone. With the prior pi_ref(z | x, y), as in the
    authors' release, it is a regularised reward and no bound.

    Args:
        logp_y_N: log P(y | x, z) of N draws of z ~ Q(. | x, y), summed over the tokens of y.
        kl_N: KL of the same draws: exact, or estimated by ``kl_estimate`` and summed over the tokens of z.
        beta: weight of the KL.
    """
    return (logp_y_N - beta * kl_N).mean()
