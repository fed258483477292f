"""Log-probabilities of tokens without the logits of all positions at once.

Shape letters: M tokens, C tokens of a chunk, D hidden size, V vocabulary, K support size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def token_logprobs(
    hidden_MD: Tensor,
    weight_VD: Tensor,
    targets_M: Tensor,
    *,
    bias_V: Tensor | None = None,
    temperature: float = 1.0,
    support_MK: Tensor | None = None,
    chunk: int = 1024,
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of its distribution softmax(logits / temperature), in nats. [M], [M].

    Works through ``chunk`` tokens at a time and computes their logits again in backward, so that no more than
    ``chunk`` x V of them exist. The softmax is taken in float32 (float64 for float64 inputs). The entropy carries no
    gradient, and a frozen weight gets none.

    Args:
        hidden_MD: last hidden states; cast to the dtype of the weight.
        weight_VD: the output embedding.
        targets_M: token ids.
        bias_V: bias of the output embedding.
        temperature: what the tokens were sampled with; positive.
        support_MK: distinct token ids to which each distribution is restricted, padded with -1; None means all.
        chunk: tokens per step.

    Raises:
        ValueError: the temperature is not positive, or a target is outside its support.
    """
    if not temperature > 0:
        raise ValueError(f"token_logprobs: temperature is {temperature}, expected a positive number")
    if support_MK is not None:
        outside_M = (support_MK != targets_M[:, None]).all(dim=1)
        if outside_M.any():
            m = int(outside_M.nonzero()[0])
            raise ValueError(
                f"token_logprobs: target {int(targets_M[m])} of token {m} is not in its support, "
                "so it could not have been sampled: score with the rollout's own ids and support"
            )

    def score(hidden_CD: Tensor, targets_C: Tensor, support_CK: Tensor | None) -> tuple[Tensor, Tensor]:
        logits_CV = F.linear(hidden_CD.to(weight_VD.dtype), weight_VD, bias_V)
        logits_CV = logits_CV.to(torch.promote_types(logits_CV.dtype, torch.float32)) / temperature
        target_logits_C = logits_CV.gather(1, targets_C[:, None])[:, 0]
        if support_CK is not None:
            logits_CV = logits_CV.gather(1, support_CK.clamp(min=0)).masked_fill(support_CK < 0, -torch.inf)
        log_z_C = logits_CV.logsumexp(dim=1)
        # Last, so that the recomputation in backward stops before it.
        entropy_C = torch.special.entr((logits_CV.detach() - log_z_C.detach()[:, None]).exp()).sum(dim=1)
        return target_logits_C - log_z_C, entropy_C

    if len(targets_M) <= chunk:  # one chunk may be kept until backward: computing it again would save nothing
        return score(hidden_MD, targets_M, support_MK)
    hidden, targets = hidden_MD.split(chunk), targets_M.split(chunk)
    supports = [None] * len(targets) if support_MK is None else support_MK.split(chunk)
    pieces = [
        checkpoint(score, *parts, use_reentrant=False, preserve_rng_state=False)
        for parts in zip(hidden, targets, supports, strict=True)
    ]
    logp_M, entropy_M = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    return logp_M, entropy_M
