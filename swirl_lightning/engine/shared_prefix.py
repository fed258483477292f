"""Texts that continue a prompt, with everything they share passing through the model once.

Two forms, equal in values and gradients. The *cache form* runs the prompt, then the trees of its continuations on the
prompt's keys and values; the gradient flows back through them. The *packed form* puts the prompt and one tree into one
sequence; gradient checkpointing, which a cache excludes, works with it.

Shape letters: P prompts, L prompt tokens, B lanes of a forest, S nodes of a lane, W = L + S, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from swirl_lightning.engine.forest import Forest
from swirl_lightning.engine.half_attention import NAME as HALF_CPU
from swirl_lightning.types import Ids


class Prefix(NamedTuple):
    """Prompts that have been through the model.

    Args:
        keys_values: keys and values of each layer. [P, heads, L, head size]
        mask: True on prompt tokens, which are padded on the right. [P, L]
        last: hidden state of each prompt's last token, which predicts the first token of its rows. [P, D]
    """

    keys_values: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor
    last: Tensor

    def detached(self) -> Prefix:
        """The same values as leaves of a graph of their own, which collect the gradient of several backward passes."""
        pairs = tuple((k.detach().requires_grad_(), v.detach().requires_grad_()) for k, v in self.keys_values)
        return Prefix(pairs, self.mask, self.last.detach().requires_grad_())

    def tensors(self) -> list[Tensor]:
        """All that a gradient flows through."""
        return [self.last, *(x for pair in self.keys_values for x in pair)]


def pad(rows: Sequence[Ids], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Rows of ids as one tensor, padded on the right, and the mask of their tokens. Both [N, T]."""
    lengths = torch.tensor([len(row) for row in rows])
    mask_NT = torch.arange(int(lengths.max())) < lengths[:, None]
    ids_NT = torch.zeros(mask_NT.shape, dtype=torch.long)
    ids_NT[mask_NT] = torch.tensor([token for row in rows for token in row], dtype=torch.long)
    return ids_NT.to(device), mask_NT.to(device)


def attention_mask(model: Any, allowed_BQK: Tensor) -> Tensor:
    """Where attention is allowed, in the form that the model's attention takes. [B, 1, Q, K]"""
    if model.config._attn_implementation in ("sdpa", HALF_CPU):
        return allowed_BQK[:, None]
    lowest = torch.finfo(model.dtype).min
    return torch.zeros(allowed_BQK.shape, device=allowed_BQK.device).masked_fill_(~allowed_BQK, lowest)[:, None]


def cache_of(pairs: Sequence[tuple[Tensor, Tensor]], layer: type[DynamicLayer] = DynamicLayer) -> DynamicCache:
    """A cache that begins with the given keys and values, which are not copied."""
    cache = DynamicCache()
    cache.layers = []
    for keys, values in pairs:
        begun = layer()
        begun.lazy_initialization(keys, values)
        begun.keys, begun.values = keys, values
        cache.layers.append(begun)
    return cache


def encode_prefix(model: Any, prompts: Sequence[Ids]) -> Prefix:
    """Run each prompt through ``model`` (a Hugging Face causal LM) once."""
    ids_PL, mask_PL = pad(prompts, model.device)
    output = model.base_model(
        input_ids=ids_PL,
        attention_mask=None,  # causal; what stands after a prompt's last token is not read
        position_ids=torch.arange(ids_PL.shape[1], device=model.device)[None].expand_as(ids_PL),
        past_key_values=DynamicCache(),
        use_cache=True,
    )
    last_P = mask_PL.sum(1) - 1
    return Prefix(
        keys_values=tuple((layer.keys, layer.values) for layer in output.past_key_values.layers),
        mask=mask_PL,
        last=output.last_hidden_state[torch.arange(len(prompts), device=model.device), last_P],
    )


def extend(model: Any, prefix: Prefix, forest: Forest) -> Tensor:
    """Hidden states that make the forest's predictions, in the cache form. [M, D]"""
    last_BD = prefix.last[forest.prompt_of]
    if not forest.ids.shape[1]:
        return last_BD[forest.lane]
    one_to_one = forest.prompt_of.tolist() == list(range(len(prefix.mask)))
    mask_BL = prefix.mask[forest.prompt_of]
    width = forest.ids.shape[1]
    allowed_BSW = torch.cat([mask_BL[:, None].expand(-1, width, -1), forest.sight()], dim=2)
    output = model.base_model(
        input_ids=forest.ids,
        attention_mask=attention_mask(model, allowed_BSW),
        position_ids=mask_BL.sum(1, keepdim=True) + forest.depth,
        past_key_values=cache_of(
            prefix.keys_values if one_to_one else [(k[forest.prompt_of], v[forest.prompt_of]) for k, v in
            prefix.keys_values]
        ),
        use_cache=True,
    )  # fmt: skip
    hidden_BSD = torch.cat([last_BD[:, None], output.last_hidden_state], dim=1)
    return hidden_BSD[forest.lane, forest.node + 1]


def packed(model: Any, prompts: Sequence[Ids], forest: Forest) -> Tensor:
    """Hidden states that make the forest's predictions, in the packed form. [M, D]

    A lane that is a single text is an ordinary causal sequence.
    """
    lanes = forest.prompt_of.tolist()
    nodes_B = forest.mask.sum(1)
    texts = [
        (*prompts[p], *ids[:size]) for p, ids, size in zip(lanes, forest.ids.tolist(), nodes_B.tolist(), strict=True)
    ]
    ids_BW, mask_BW = pad(texts, model.device)
    length_B = torch.tensor([len(prompts[p]) for p in lanes], device=model.device)
    position_BW = torch.arange(ids_BW.shape[1], device=model.device).expand(len(lanes), -1).clone()
    attention = None  # causal; what stands after a text's last token is not read
    if not forest.straight:
        node_BW = mask_BW & (position_BW >= length_B[:, None])
        position_BW[node_BW] = (length_B[:, None] + forest.depth)[forest.mask]
        attention = attention_mask(model, _packed_sight(forest, length_B, mask_BW))
    output = model.base_model(
        input_ids=ids_BW, attention_mask=attention, position_ids=position_BW, use_cache=False
    )  # fmt: skip
    return output.last_hidden_state[forest.lane, length_B[forest.lane] + forest.node]


def _packed_sight(forest: Forest, length_B: Tensor, mask_BW: Tensor) -> Tensor:
    """True where a token of a packed sequence sees another one. [B, W, W]"""
    width = mask_BW.shape[1]
    place_W = torch.arange(width, device=mask_BW.device)
    prompt_BW = place_W < length_B[:, None]
    sight_BWW = (place_W[:, None] >= place_W) & prompt_BW[:, None]  # causal, and seen by every node
    sees_BSS = forest.sight()
    for b, length in enumerate(length_B.tolist()):
        size = min(sees_BSS.shape[1], width - length)
        sight_BWW[b, length : length + size, length : length + size] = sees_BSS[b, :size, :size]
    return sight_BWW
