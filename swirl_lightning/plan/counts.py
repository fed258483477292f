"""The weights of any causal LM of transformers, counted without making them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, ChameleonForConditionalGeneration, Emu3ForConditionalGeneration
from transformers.pytorch_utils import Conv1D

from swirl_lightning.types import InputError, check_number

SUBCLASSES = ("FalconLinear",)
"""What single models make of a linear layer that still is one; all others are routers and maps of groups."""
PAST = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}
"""Types of models whose ``out_proj`` is read past what an adapter adds to it; ``dt_proj`` is in every model."""
EXPERTS = {"gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"}
"""Layers that PEFT takes for experts in a model that holds these in one tensor: dense ones, shared ones."""

WITH_PICTURES = {"chameleon": ChameleonForConditionalGeneration, "emu3": Emu3ForConditionalGeneration}
"""Types of models that have a VQ network inside, and what they are loaded as."""
VQ = "vqmodel"
"""What that network is called: it is neither adapted nor quantised, and is counted by itself."""

MOST_LAYERS = 10_000
"""More than any model has; making as many as a file says could take for ever."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of weights.

    Args:
        linear_parameters: of linear layers, the output embedding apart: what is quantised.
        other_parameters: all others.
        adapted: inputs and outputs of all layers that get an adapter, added up: an adapter's weights, by its rank.
    """

    linear_parameters: int
    other_parameters: int
    adapted: int

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.linear_parameters + self.other_parameters

    def lora_parameters(self, rank: int) -> int:
        """Weights of one LoRA adapter."""
        return rank * self.adapted


def linear_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """The linear layers of a model by name, the output embedding apart."""
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        kind = type(module)
        other = kind.__module__.startswith("transformers.models") and kind.__name__ not in SUBCLASSES
        if isinstance(module, nn.Linear | Conv1D) and module is not head and not other and VQ not in name.split("."):
            yield name, module


def adapted_layers(model: Any) -> dict[str, Any]:
    """Those that get an adapter."""
    left_out = {"dt_proj"} | ({"out_proj"} if model.config.model_type in PAST else set())
    if any(p.ndim == 3 and name.endswith("gate_up_proj") for name, p in model.named_parameters()):
        left_out |= EXPERTS
    return {name: module for name, module in linear_layers(model) if name.rpartition(".")[2] not in left_out}


def without_adapter(model: Any) -> dict[str, int]:
    """Weights of layers that get no adapter although they are maps of a layer's, by name: their numbers.

    Experts that are one tensor, what PEFT takes for experts beside them, projections of a state-space layer.
    Embeddings, routers, norms and convolutions are no such maps.
    """
    adapted = adapted_layers(model)
    linear = {f"{name}.weight": layer.weight.numel() for name, layer in linear_layers(model) if name not in adapted}
    convolutions = {
        f"{name}.{own}"
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv1d)
        for own, _ in module.named_parameters()
    }
    fused = {name: p.numel() for name, p in model.named_parameters() if p.ndim == 3 and name not in convolutions}
    return fused | linear


def check_layers(config: Any) -> None:
    """Refuse a configuration with no layer, or with more than a model could have.

    Raises:
        InputError: with the number that was found.
    """
    layers = getattr(config.get_text_config(decoder=True), "num_hidden_layers", 1)
    check_number("model.base.name: num_hidden_layers of its config.json", layers, least=1, most=MOST_LAYERS)


def count(config: Any) -> Counts:
    """The weights of the model that a Hugging Face configuration describes.

    Raises:
        InputError: it describes no causal LM.
    """
    check_layers(config)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            model: Any = (
                WITH_PICTURES[config.model_type]._from_config(config)
                if config.model_type in WITH_PICTURES
                else AutoModelForCausalLM.from_config(config, trust_remote_code=False)
            )
    except Exception as error:  # a configuration that fits no model fails anywhere in it
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise InputError(
            f"model.base.name: its configuration, of the type {config.model_type!r}, makes no causal language model of "
            f"transformers ({reason}); expected one that does"
        ) from error
    linear = sum(module.weight.numel() for _, module in linear_layers(model))
    adapted = sum(sum(module.weight.shape) for module in adapted_layers(model).values())
    total = sum(p.numel() for name, p in model.named_parameters() if VQ not in name.split("."))
    return Counts(linear, total - linear, adapted)
