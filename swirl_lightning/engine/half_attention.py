"""Attention of models that compute in half precision on a CPU.

There, torch's fused kernel multiplies bfloat16 slowly: for 60 rows that each decode a token behind 180 (9 heads, 3 of
keys, one thread) it takes 11.3 ms a layer, float32 products on the grouped heads 1.9; for 4 texts of 150 tokens,
forward and backward, 23.8 and 13.8 ms.

Shape letters: B texts, H heads, J heads of keys and values, Q queries, W keys, D size of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "swirl_half_cpu"
HALF = (torch.bfloat16, torch.float16)
MOST_SCORES = 1 << 16
"""Scores of a head up to which they are written out; the fused kernel keeps none of them for backward."""


def computes_in_half(model: Any) -> bool:
    """Whether a model's activations are bfloat16 or float16."""
    return model.get_input_embeddings().weight.dtype in HALF


def quicker_attention(model: Any) -> None:
    """Let a model attend by :func:`attention` where that is quicker: in half precision, on a CPU."""
    if model.device.type == "cpu" and computes_in_half(model) and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


def attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Scaled dot-product attention, in the form that transformers calls. [B, Q, H, D]

    Args:
        module: the layer.
        query: [B, H, Q, D]
        key: [B, J, W, D]
        value: [B, J, W, D]
        attention_mask: True where attention is allowed; None means causal. [B, 1, Q, W]
        scaling: what scores are multiplied by; None means 1 / sqrt(D).
        options: all else that transformers hands on.
    """
    B, H, Q, D = query.shape
    J, W = key.shape[1:3]
    square = attention_mask is not None or Q in (1, W)
    special = any(options.get(name) for name in ("dropout", "softcap")) or options.get("position_bias") is not None
    if Q * W > MOST_SCORES or not square or special or options.get("is_causal") is False:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    if attention_mask is None and Q > 1:
        attention_mask = torch.ones(Q, W, dtype=torch.bool).tril()[None, None]
    scaled = query.float() * (D**-0.5 if scaling is None else scaling)
    scores = (scaled.reshape(B, J, -1, D) @ key.float().transpose(2, 3)).view(B, J, H // J, Q, W)
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask[:, :, None], torch.finfo(torch.float32).min)
    heads = (scores.softmax(-1).view(B, J, -1, W) @ value.float()).view(B, H, Q, D)
    return heads.to(query.dtype).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
