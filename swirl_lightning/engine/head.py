"""The model's head, cut to the rows of those ids that an answer allows.

Cutting costs less than masking: of a vocabulary with 8,192 codes of pictures and 256,000 words, the words are neither
computed nor sorted, and no row of them gets a gradient.

Shape letters: V rows of the cut head, D hidden size, K support size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from swirl_lightning.types import Answer


def head_rows(model: Any, answer: Answer) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the output embedding, of the allowed ids alone. [V, D], [V]"""
    head = model.get_output_embeddings()
    if answer.allowed is None:
        return head.weight, head.bias
    return head.weight[answer.rows], None if head.bias is None else head.bias[answer.rows]


def cut_head(model: Any, answer: Answer) -> Any:
    """The same as a layer without gradient, for decoding."""
    if answer.allowed is None:
        return model.get_output_embeddings()
    weight_VD, bias_V = head_rows(model, answer)
    layer = nn.Linear(weight_VD.shape[1], len(weight_VD), bias=bias_V is not None, device="meta")
    layer.weight = nn.Parameter(weight_VD.detach(), requires_grad=False)
    if bias_V is not None:
        layer.bias = nn.Parameter(bias_V.detach(), requires_grad=False)
    return layer


def places_of(ids: Tensor, answer: Answer) -> Tensor:
    """The rows of the cut head that some ids have; -1, which pads, stays."""
    return ids if not answer.first else torch.where(ids < 0, ids, ids - answer.first)


def ids_of(places: Tensor, answer: Answer) -> Tensor:
    """The ids of some rows of the cut head; -1 stays."""
    return places if not answer.first else torch.where(places < 0, places, places + answer.first)
