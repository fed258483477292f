"""Optimisers by name, and forgetting what they remember."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from swirl_lightning.types import InputError

OptimizerName = Literal["adamw", "adamw_8bit", "paged_adamw_8bit"]
MOMENTS: dict[OptimizerName, int] = {"adamw": 8, "adamw_8bit": 2, "paged_adamw_8bit": 2}
"""Bytes of both moments of a weight."""


def make_optimizer(
    name: OptimizerName, parameters: Sequence[nn.Parameter], learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW (arXiv:1711.05101), or the form with moments of 8 bits (arXiv:2110.02861) by bitsandbytes.

    Args:
        name: ``adamw``; ``adamw_8bit``, whose moments take a quarter of the memory; ``paged_adamw_8bit``, which lets
            them move to the host when a GPU is full.
        parameters: what is optimised, on the device it stays on.
        learning_rate: of the first step; schedules overwrite it.
        weight_decay: decoupled from the gradient.

    Raises:
        InputError: if a paged optimiser is asked for without a GPU.
    """
    if name == "adamw":
        return torch.optim.AdamW(parameters, learning_rate, weight_decay=weight_decay, fused=True)
    import bitsandbytes  # seconds to import, and rarely used

    if name == "adamw_8bit":
        return bitsandbytes.optim.AdamW8bit(parameters, learning_rate, weight_decay=weight_decay)
    device = parameters[0].device
    if device.type != "cuda":
        raise InputError(
            f"model.optimizer: paged_adamw_8bit on the device {device.type!r}, expected a GPU, from which it moves "
            "pages to the host; use adamw_8bit or adamw"
        )
    return bitsandbytes.optim.PagedAdamW8bit(parameters, learning_rate, weight_decay=weight_decay)


def forget(optimizer: torch.optim.Optimizer) -> None:
    """Drop an optimiser's moments, as if it had made no step."""
    optimizer.state.clear()
    pages = getattr(optimizer, "page_mng", None)
    if pages is not None:  # bitsandbytes keeps its paged tensors alive there
        pages.paged_tensors.clear()
