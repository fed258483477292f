"""GRPO as pure functions of tensors.

Shape letters: P prompts, G samples per prompt, N distinct completions, T completion tokens.
Sources: GRPO, arXiv:2402.03300 eqs. 3-4; Dr. GRPO, arXiv:2503.20783; DAPO, arXiv:2503.14476; GSPO, arXiv:2507.18071.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from swirl_lightning.algorithms.objectives import kl_estimate, row_mean, row_sum

LossKind = Literal["grpo", "dr_grpo", "dapo"]
AdvantageScale = Literal["group", "batch", "none"]
Importance = Literal["token", "sequence"]


class GRPOLoss(NamedTuple):
    """What ``grpo_loss`` returns.

    Args:
        loss: what to minimise, differentiable. The losses of the micro-batches of an update add up to the update's.
        kl: estimate of KL(policy || reference) in nats per token, 0 without a reference. Detached.
        clip_fraction: share of tokens whose gradient the clip stopped, in [0, 1]. Detached.

    ``kl`` and ``clip_fraction`` are means over the tokens of a row, then weighted means over the rows.
    """

    loss: Tensor
    kl: Tensor
    clip_fraction: Tensor


def group_advantages(
    rewards_PG: Tensor, *, scale: AdvantageScale = "group", min_spread: float = 0.0, eps: float = 1e-4
) -> Tensor:
    """Centre each reward in its own group and scale it. [P, G].

    A group whose rewards are all equal, or of one sample, teaches nothing: its advantages are exactly 0.

    Args:
        rewards_PG: rewards of G samples of each of P prompts.
        scale: divide by the (unbiased) standard deviation of the group (arXiv:2402.03300), of all rewards in the batch,
            or not at all (arXiv:2503.20783).
        min_spread: smallest standard deviation that is divided by, in the reward's unit. Differences far below it stay
            small, where a division by their own spread would make full-size advantages of rounding and chance.
        eps: added to the standard deviation.
    """
    if rewards_PG.shape[1] == 1:
        return torch.zeros_like(rewards_PG)
    advantages_PG = rewards_PG - rewards_PG.mean(dim=1, keepdim=True)
    if scale == "group":
        advantages_PG = advantages_PG / (rewards_PG.std(dim=1, keepdim=True).clamp(min=min_spread) + eps)
    elif scale == "batch":
        advantages_PG = advantages_PG / (rewards_PG.std().clamp(min=min_spread) + eps)
    # The mean of equal floats may differ from them in the last bit.
    constant_P1 = (rewards_PG == rewards_PG[:, :1]).all(dim=1, keepdim=True)
    return advantages_PG.masked_fill(constant_P1, 0.0)


def loss_normalizer(mask_NT: Tensor, weight_N: Tensor, *, loss: LossKind, max_tokens: int) -> float:
    """What the sum over rows is divided by, taken over the WHOLE update: all its micro-batches, all its processes.

    ``grpo``: samples. ``dr_grpo``: samples times ``max_tokens``. ``dapo``: sampled tokens.

    Args:
        mask_NT: True on completion tokens of all rows of the update.
        weight_N: samples that each row stands for.
        loss: as in ``grpo_loss``.
        max_tokens: length limit of a completion, read by ``dr_grpo`` only.

    Raises:
        ValueError: there is nothing to divide by.
    """
    counted_N = weight_N * mask_NT.sum(dim=1) if loss == "dapo" else weight_N
    normalizer = float(counted_N.sum()) * (max_tokens if loss == "dr_grpo" else 1)
    if not normalizer > 0:
        raise ValueError(f"loss_normalizer: the {loss!r} loss would be divided by {normalizer}, expected more than 0")
    return normalizer


def grpo_loss(
    logp_NT: Tensor,
    old_logp_NT: Tensor,
    ref_logp_NT: Tensor | None,
    adv_N: Tensor,
    mask_NT: Tensor,
    weight_N: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    beta: float = 0.0,
    loss: LossKind = "grpo",
    importance: Importance = "token",
    plain_logp_NT: Tensor | None = None,
    normalizer: float,
) -> GRPOLoss:
    """Clipped surrogate minus ``beta`` times the KL to the reference, negated to be minimised (arXiv:2402.03300 eq. 3).

    Rows are distinct completions: the result equals that of repeating row n ``weight_N[n]`` times. Masked positions may
    hold anything, NaN included; they reach neither value nor gradient.

    Args:
        logp_NT: log-probability of the sampled tokens under the policy, as it samples: with its temperature and what
            top-p and top-k leave. It needs a gradient.
        old_logp_NT: the same under the policy that sampled them.
        ref_logp_NT: log-probability of the tokens under the frozen reference, at temperature 1 with every token
            allowed; None if ``beta`` is 0.
        adv_N: advantage of each row.
        mask_NT: True on completion tokens.
        weight_N: samples that each row stands for.
        clip_low: the ratio is clipped below at 1 - ``clip_low``.
        clip_high: and above at 1 + ``clip_high``; larger than ``clip_low`` it is DAPO's clip-higher.
        beta: weight of the KL term, which is estimated by k3; ``kl_estimate`` says which gradient that has.
        loss: a row contributes the mean over its tokens (``grpo``), or their sum (``dr_grpo``, ``dapo``).
        importance: probability ratio of each token, or one per row, exp(mean log-ratio), as in GSPO. With one
            advantage per row the latter has the gradient of GSPO-token, too.
        plain_logp_NT: log-probability under the policy at temperature 1 with every token allowed, with its gradient,
            for the KL: where top-p leaves one token, policy and reference would both give it log-probability 0.
            None where the policy samples so.
        normalizer: ``loss_normalizer`` of the whole update.

    Raises:
        ValueError: a row has no token, a log-probability on a token or an advantage is not finite, or ``beta`` is
            positive and there is no reference.
    """
    if not mask_NT.any(dim=1).all():
        row = int(mask_NT.any(dim=1).logical_not().nonzero()[0])
        raise ValueError(f"grpo_loss: row {row} of mask_NT has no token, expected at least the end token")
    if beta > 0 and ref_logp_NT is None:
        raise ValueError(f"grpo_loss: beta is {beta} but ref_logp_NT is None: give the reference, or set beta to 0")
    logp_NT = _finite("logp_NT", logp_NT.masked_fill(~mask_NT, 0.0))
    old_logp_NT = _finite("old_logp_NT", old_logp_NT.masked_fill(~mask_NT, 0.0))
    adv_N1 = _finite("adv_N", adv_N)[:, None]

    log_ratio_NT = logp_NT - old_logp_NT
    if importance == "sequence":
        log_ratio_NT = row_mean(log_ratio_NT, mask_NT)[:, None].expand_as(log_ratio_NT)
    ratio_NT = log_ratio_NT.exp()
    surrogate_NT = ratio_NT * adv_N1
    clipped_NT = ratio_NT.clamp(1 - clip_low, 1 + clip_high) * adv_N1
    loss_NT = -torch.minimum(surrogate_NT, clipped_NT)

    kl_NT = torch.zeros_like(loss_NT)
    if ref_logp_NT is not None:
        ref_logp_NT = _finite("ref_logp_NT", ref_logp_NT.masked_fill(~mask_NT, 0.0))
        if plain_logp_NT is None:
            plain_logp_NT = logp_NT
        plain_logp_NT = _finite("plain_logp_NT", plain_logp_NT.masked_fill(~mask_NT, 0.0))
        kl_NT = kl_estimate(plain_logp_NT, ref_logp_NT, "k3")
        loss_NT = loss_NT + beta * kl_NT

    loss_N = row_mean(loss_NT, mask_NT) if loss == "grpo" else row_sum(loss_NT, mask_NT)
    weight_N = weight_N.to(loss_N.dtype)
    share_N = weight_N / weight_N.sum()
    return GRPOLoss(
        loss=(weight_N * loss_N).sum() / normalizer,
        kl=(share_N * row_mean(kl_NT.detach(), mask_NT)).sum(),
        clip_fraction=(share_N * row_mean((clipped_NT < surrogate_NT).to(loss_NT.dtype), mask_NT)).sum(),
    )


def _finite(name: str, x: Tensor) -> Tensor:
    bad = (~x.isfinite()).nonzero()
    if len(bad):
        raise ValueError(
            f"grpo_loss: {name} is {x[tuple(bad[0])].item()} at {bad[0].tolist()} "
            f"({len(bad)} such values), expected finite numbers"
        )
    return x
