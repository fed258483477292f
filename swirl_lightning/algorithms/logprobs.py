"""Log-probabilities of tokens, softmax and gradient in tiles: the logits of all tokens never exist at once.

Shape letters: M tokens, D hidden size, V vocabulary, K support size; a tile has C tokens x B columns of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Of a tile at most: 8 MB of float32, which a CPU's cache holds and which keeps a GPU busy.
TOKENS, COLUMNS = 1024, 2048


def token_logprobs(
    hidden_MD: Tensor,
    weight_VD: Tensor,
    targets_M: Tensor,
    *,
    bias_V: Tensor | None = None,
    temperature: float = 1.0,
    support_MK: Tensor | None = None,
    entropy: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Log-probability of each target under softmax(logits / temperature), in nats. [M]

    Forward keeps a running maximum and sum over tiles of logits (online softmax, arXiv 1805.02867), backward computes
    each tile again. A matrix product has the wider dtype of the two, the softmax is taken in float32 (float64 for
    float64). A frozen weight or bias gets no gradient and costs none.

    Args:
        hidden_MD: last hidden states; the product is taken in the wider dtype of theirs and the weight's.
        weight_VD: the output embedding.
        targets_M: token ids.
        bias_V: bias of the output embedding.
        temperature: what the tokens were sampled with; positive.
        support_MK: distinct token ids to which each distribution is restricted, padded with -1; None means all.
        entropy: also return the entropy of each distribution in nats, without gradient. [M]

    Raises:
        ValueError: the temperature is not positive, or a target is outside the vocabulary or its support.
    """
    if not temperature > 0:
        raise ValueError(f"token_logprobs: temperature is {temperature}, expected a positive number")
    outside_M = (targets_M < 0) | (targets_M >= len(weight_VD))
    if outside_M.any():
        m = int(outside_M.nonzero()[0])
        raise ValueError(
            f"token_logprobs: target {int(targets_M[m])} of token {m} is none of the {len(weight_VD)} ids of the head"
        )
    if support_MK is not None:
        outside_M = (support_MK != targets_M[:, None]).all(dim=1)
        if outside_M.any():
            m = int(outside_M.nonzero()[0])
            raise ValueError(
                f"token_logprobs: target {int(targets_M[m])} of token {m} is not in its support, "
                "so it could not have been sampled: score with the rollout's own ids and support"
            )
    with torch.autocast(hidden_MD.device.type, enabled=False):  # as in backward, which runs outside of any autocast
        return _TiledLogprobs.apply(
            hidden_MD.to(torch.promote_types(hidden_MD.dtype, weight_VD.dtype)),
            weight_VD, bias_V, targets_M, support_MK, temperature, entropy,
        )  # fmt: skip


def _tiles(num_tokens: int, vocabulary: int, support_MK: Tensor | None) -> Iterator[tuple[slice, slice]]:
    """Tokens and columns of every tile."""
    size = TOKENS
    if support_MK is not None:  # a tile reads the whole support of its tokens
        size = max(1, min(TOKENS, TOKENS * COLUMNS // max(1, support_MK.shape[1])))
    for column in range(0, vocabulary, COLUMNS):
        for token in range(0, num_tokens, size):
            yield slice(token, token + size), slice(column, min(column + COLUMNS, vocabulary))


def _logits(
    rows: slice, cols: slice, hidden_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, temperature: float
) -> Tensor:
    """Logits of a tile, divided by the temperature, in the dtype of the softmax. [C, B]"""
    logits_CB = hidden_MD[rows] @ weight_VD[cols].to(hidden_MD.dtype).T
    logits_CB = logits_CB.to(torch.promote_types(logits_CB.dtype, torch.float32))
    if bias_V is not None:
        logits_CB += bias_V[cols]
    return logits_CB.div_(temperature)


def _locate(ids: Tensor, cols: slice) -> tuple[Tensor, Tensor]:
    """Column of each id, and whether it is in the tile; the column is of no meaning where it is not."""
    return (ids.long() - cols.start).clamp_(0, cols.stop - cols.start - 1), (ids >= cols.start) & (ids < cols.stop)


class _TiledLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_MD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, targets_M: Tensor,
        support_MK: Tensor | None, temperature: float, entropy: bool,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        dtype = torch.promote_types(hidden_MD.dtype, torch.float32)
        target_M1, sum_M1, spread_M1 = hidden_MD.new_zeros(3, len(hidden_MD), 1, dtype=dtype)
        # The lowest number, not -inf: a tile of nothing but -inf must leave no NaN.
        max_M1 = torch.full_like(sum_M1, torch.finfo(dtype).min)
        for rows, cols in _tiles(len(hidden_MD), len(weight_VD), support_MK):
            logits_CB = _logits(rows, cols, hidden_MD, weight_VD, bias_V, temperature)
            column_C1, here_C1 = _locate(targets_M[rows, None], cols)
            target_M1[rows] = logits_CB.gather(1, column_C1).where(here_C1, target_M1[rows])
            if support_MK is not None:
                column_CK, here_CK = _locate(support_MK[rows], cols)
                logits_CB = logits_CB.gather(1, column_CK).masked_fill_(~here_CK, -torch.inf)
            max_C1 = max_M1[rows].maximum(logits_CB.amax(1, keepdim=True))
            rise_C1 = max_C1 - max_M1[rows]
            exp_CB = logits_CB.sub_(max_C1).exp_()
            if entropy:  # sum of (max - logit) * exp(logit - max)
                spread_M1[rows] = (spread_M1[rows] + sum_M1[rows] * rise_C1) * (-rise_C1).exp()
                spread_M1[rows] += torch.special.entr(exp_CB).sum(1, keepdim=True)
            sum_M1[rows] = sum_M1[rows] * (-rise_C1).exp() + exp_CB.sum(1, keepdim=True)
            max_M1[rows] = max_C1
        log_z_M1 = max_M1 + sum_M1.log()
        ctx.save_for_backward(hidden_MD, weight_VD, bias_V, targets_M, support_MK, log_z_M1)
        ctx.temperature = temperature
        entropy_M = (spread_M1 / sum_M1 + sum_M1.log())[:, 0] if entropy else None
        if entropy_M is not None:
            ctx.mark_non_differentiable(entropy_M)
        return (target_M1 - log_z_M1)[:, 0], entropy_M

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_M: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden_MD, weight_VD, bias_V, targets_M, support_MK, log_z_M1 = ctx.saved_tensors
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        scale_M1 = grad_M[:, None] / ctx.temperature
        d_hidden_MD = torch.zeros_like(hidden_MD, dtype=scale_M1.dtype) if need_hidden else None
        d_weight_VD = torch.zeros_like(weight_VD) if need_weight else None
        d_bias_V = torch.zeros_like(bias_V) if need_bias else None
        for rows, cols in _tiles(len(hidden_MD), len(weight_VD), support_MK):
            logits_CB = _logits(rows, cols, hidden_MD, weight_VD, bias_V, ctx.temperature)
            # d logp / d logits, without a scale that half precision might not hold
            if support_MK is None:
                d_CB = logits_CB.sub_(log_z_M1[rows]).exp_().neg_()
            else:
                column_CK, here_CK = _locate(support_MK[rows], cols)
                probs_CK = (logits_CB.gather(1, column_CK) - log_z_M1[rows]).exp_().masked_fill_(~here_CK, 0)
                d_CB = torch.zeros_like(logits_CB).scatter_add_(1, column_CK, -probs_CK)
            column_C1, here_C1 = _locate(targets_M[rows, None], cols)
            d_CB.scatter_add_(1, column_C1, here_C1.to(d_CB.dtype))
            if d_bias_V is not None:
                d_bias_V[cols] += d_CB.T @ scale_M1[rows, 0]
            d_CB = d_CB.to(hidden_MD.dtype)
            if d_hidden_MD is not None:
                d_hidden_MD[rows] += d_CB @ weight_VD[cols].to(d_CB.dtype)
            if d_weight_VD is not None:
                d_weight_VD[cols] += d_CB.T @ (hidden_MD[rows] * scale_M1[rows]).to(d_CB.dtype)
        if d_hidden_MD is not None:
            d_hidden_MD = d_hidden_MD.mul_(scale_M1).to(hidden_MD.dtype)
        return d_hidden_MD, d_weight_VD, d_bias_V, None, None, None, None
