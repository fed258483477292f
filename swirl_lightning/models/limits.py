"""What a model can read: which ids, and how many of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swirl_lightning.types import InputError


def check_limits(model: Any, num_ids: int, max_tokens: int, completions: Mapping[str, int]) -> None:
    """Refuse texts that a model would fail on, or answer with nonsense.

    Args:
        model: a Hugging Face causal LM.
        num_ids: how many ids it will read and write, from 0 on.
        max_tokens: longest transition.
        completions: the longest completion of each role, by its option; they may come beside a whole transition.

    Raises:
        InputError: there are ids that the model has no embedding for, or the model has too few positions.
    """
    embeddings = model.get_input_embeddings().weight.shape[0]
    if num_ids > embeddings:
        raise InputError(
            f"model.base.name: the tokenizer has {num_ids} ids, and the model has embeddings for {embeddings}; "
            "expected a tokenizer and a model that belong together, or a model whose embeddings were resized to the "
            "tokenizer"
        )
    config = model.config.get_text_config(decoder=True)
    positions = getattr(config, "max_position_embeddings", None) or 0
    # a rotation goes on beyond the positions that a model was trained with, a table ends
    beside = {} if getattr(config, "rope_parameters", None) else completions
    if 0 < positions < max_tokens + sum(beside.values()):
        why = "".join(f" and {name} ({length})" for name, length in beside.items())
        raise InputError(
            f"model.max_tokens: found {max_tokens}, and the model has {positions} positions (max_position_embeddings; "
            f"model.base.max_positions of a model from scratch), expected at least model.max_tokens{why}; lower it"
        )
