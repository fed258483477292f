"""Several texts that begin with one prompt: the prompt passes through the model once.

The prompt's keys and values are selected for every row that continues it, with the gradient flowing back through the
selection, so that forward and backward cost P + N * T tokens in place of N * (P + T).

Shape letters: P prompts, N rows, L prompt tokens, T row tokens, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

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

    def cache(self, prompt_of_N: Tensor) -> DynamicCache:
        """A cache that begins row n with prompt ``prompt_of_N[n]``."""
        return DynamicCache([(keys[prompt_of_N], values[prompt_of_N]) for keys, values in self.keys_values])


def pad(rows: Sequence[Ids], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Rows of ids as one tensor, padded on the right, and the mask of their tokens. Both [N, T]."""
    lengths = torch.tensor([len(row) for row in rows])
    mask_NT = torch.arange(int(lengths.max())) < lengths[:, None]
    ids_NT = torch.zeros(mask_NT.shape, dtype=torch.long)
    ids_NT[mask_NT] = torch.tensor([token for row in rows for token in row], dtype=torch.long)
    return ids_NT.to(device), mask_NT.to(device)


def encode_prefix(model: Any, prompts: Sequence[Ids]) -> Prefix:
    """Run each prompt through ``model`` (a Hugging Face causal LM) once."""
    ids_PL, mask_PL = pad(prompts, model.device)
    output = model.base_model(
        input_ids=ids_PL,
        attention_mask=mask_PL.long(),
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


def plain(model: Any, ids_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """Hidden states that predict ``ids_NT[:, 1:]``, each row by itself. [N, T - 1, D]"""
    output = model.base_model(
        input_ids=ids_NT[:, :-1],
        attention_mask=mask_NT[:, :-1].long(),
        position_ids=torch.arange(ids_NT.shape[1] - 1, device=ids_NT.device)[None].expand(len(ids_NT), -1),
        use_cache=False,
    )
    return output.last_hidden_state


def extend(model: Any, prefix: Prefix, prompt_of_N: Tensor, ids_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """Hidden states that predict ``ids_NT`` when row n continues prompt ``prompt_of_N[n]``. [N, T, D]

    The state at column 0 is the prompt's last one, so the row's last token is never fed to the model.
    """
    first_N1D = prefix.last[prompt_of_N][:, None]
    if ids_NT.shape[1] == 1:
        return first_N1D
    prompt_mask_NL = prefix.mask[prompt_of_N]
    positions = torch.arange(ids_NT.shape[1] - 1, device=ids_NT.device)
    output = model.base_model(
        input_ids=ids_NT[:, :-1],
        attention_mask=torch.cat([prompt_mask_NL, mask_NT[:, :-1]], dim=1).long(),
        position_ids=prompt_mask_NL.sum(1, keepdim=True) + positions,
        past_key_values=prefix.cache(prompt_of_N),
        use_cache=True,
    )
    return torch.cat([first_N1D, output.last_hidden_state], dim=1)
