"""Optimisers by name, and forgetting what they remember."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from swirl_lightning.algorithms.schedules import ScheduleShape
from swirl_lightning.types import InputError, check_number

OptimizerName = Literal["adamw", "adamw_8bit", "paged_adamw_8bit"]


@dataclass(frozen=True)
class OptimizerOptions:
    """How weights are updated, in both roles alike; the learning rate belongs to the role, or to the stage.

    Args:
        name: ``adamw`` (arXiv:1711.05101); ``adamw_8bit``, with moments of 8 bits (arXiv:2110.02861);
            ``paged_adamw_8bit``, whose moments leave a full GPU.
        weight_decay: decoupled from the gradient.
        gradient_clip: largest norm of a gradient.
        lr_schedule: shape of the learning rate over a stage, after the warm-up.
        lr_warmup: updates of linear warm-up at the start of every stage.
    """

    name: OptimizerName = "adamw"
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    lr_schedule: ScheduleShape = "cosine"
    lr_warmup: int = 10

    def __post_init__(self) -> None:
        check_number("model.optimizer.weight_decay", self.weight_decay, least=0)
        check_number("model.optimizer.gradient_clip", self.gradient_clip, above=0)
        check_number("model.optimizer.lr_warmup", self.lr_warmup, least=0)

    @property
    def moments(self) -> int:
        """Bytes of both moments of a weight."""
        return 8 if self.name == "adamw" else 2

    def make(self, parameters: Sequence[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """The optimiser of some parameters, which stay on their device.

        Args:
            parameters: what is optimised.
            learning_rate: of the first step; schedules overwrite it.

        Raises:
            InputError: a paged optimiser is asked for without a GPU.
        """
        if self.name == "adamw":
            return torch.optim.AdamW(parameters, learning_rate, weight_decay=self.weight_decay, fused=True)
        import bitsandbytes  # seconds to import, and rarely used

        if self.name == "adamw_8bit":
            return bitsandbytes.optim.AdamW8bit(parameters, learning_rate, weight_decay=self.weight_decay)
        device = parameters[0].device
        if device.type != "cuda":
            raise InputError(
                f"model.optimizer.name: paged_adamw_8bit on the device {device.type!r}, expected a GPU, from which it "
                "moves pages to the host; use adamw_8bit or adamw"
            )
        return bitsandbytes.optim.PagedAdamW8bit(parameters, learning_rate, weight_decay=self.weight_decay)


def forget(optimizer: torch.optim.Optimizer) -> None:
    """Drop an optimiser's moments, as if it had made no step."""
    optimizer.state.clear()
    pages = getattr(optimizer, "page_mng", None)
    if pages is not None:  # bitsandbytes keeps its paged tensors alive there
        pages.paged_tensors.clear()
