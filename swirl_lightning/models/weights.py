"""Named sets of weights on one base model: LoRA adapters, or whole copies of a model that is trained from scratch."""

from __future__ import annotations

import copy
import logging
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from swirl_lightning.engine.half_attention import computes_in_half
from swirl_lightning.models.lora import FusedLora
from swirl_lightning.models.places import without_places
from swirl_lightning.models.precision import AdapterLinear, float32_forward
from swirl_lightning.plan.counts import adapted_layers, without_adapter
from swirl_lightning.types import InputError

log = logging.getLogger(__name__)


class Weights(nn.Module, ABC):
    """Named weight sets. One is active at a time; which of them get gradients is set apart from that.

    Args:
        names: the sets, for example ``fwm``, ``idm`` and ``reference``.
    """

    gradient_checkpointing = False
    """Whether layers keep nothing but their input for backward; only where they are in training mode, without cache."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.names = tuple(names)

    @abstractmethod
    def activate(self, name: str) -> Any:
        """The Hugging Face model with the set ``name`` in place."""

    @property
    def has_base(self) -> bool:
        """Whether ``activate("")`` gives a base model that no phase has trained."""
        return False

    @property
    def base_name(self) -> str | None:
        """The name or folder that the base was loaded from; None where there is none."""
        return None

    @abstractmethod
    def named(self, name: str) -> dict[str, nn.Parameter]:
        """The parameters of the set ``name``; the same keys for every set."""

    @abstractmethod
    def export(self, name: str, folder: Path, *, merge: bool = False, base_name: str | None = None) -> None:
        """Write the set ``name`` as a folder of the Hugging Face libraries: whole, or an adapter in PEFT's layout.

        Args:
            name: the set.
            folder: where to.
            merge: add an adapter to its base and write the whole model.
            base_name: what an adapter's base is called from now on; None keeps the name that it was loaded by.

        Raises:
            InputError: a quantised base cannot be merged.
        """

    def set_trainable(self, *names: str) -> None:
        """Give gradients to these sets and to no other."""
        for name in self.names:
            for parameter in self.named(name).values():
                parameter.requires_grad_(name in names)
                if name not in names:
                    parameter.grad = None

    @torch.no_grad()
    def copy(self, source: str, target: str) -> None:
        """Overwrite the set ``target`` with the values of ``source``, on the device."""
        into = self.named(target)
        for key, parameter in self.named(source).items():
            into[key].copy_(parameter)

    @torch.no_grad()
    def restore(self, name: str, values: Mapping[str, Tensor]) -> None:
        """Overwrite the set ``name`` with values that were taken from it."""
        for key, parameter in self.named(name).items():
            parameter.copy_(values[key])

    def scoring_precision(self) -> AbstractContextManager[None]:
        """While it is open, models compute in float32, without gradient.

        For the log-probs that become a reward: what rounding to bfloat16 does to them differs within a group, and the
        division by the group's standard deviation makes it an advantage. Hidden states are then float32 too.
        """
        return nullcontext()

    def train(self, mode: bool = True) -> Weights:
        """Stay in evaluation mode: with dropout, the ratio of two passes would not be the policy's."""
        return super().train(False)

    def tensors(self) -> dict[str, Tensor]:
        """Every set's values, to be saved; a frozen base model is not among them."""
        return {f"{name}/{key}": p.detach() for name in self.names for key, p in self.named(name).items()}

    @torch.no_grad()
    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Overwrite every set with saved values.

        Raises:
            InputError: if the saved sets, names or shapes are not those of this model.
        """
        own = self.tensors()
        wrong = sorted(own.keys() ^ tensors.keys())
        wrong += [key for key in sorted(own.keys() & tensors.keys()) if own[key].shape != tensors[key].shape]
        if wrong:
            saved = tensors.get(wrong[0])
            raise InputError(
                f"checkpoint does not fit the model: {len(wrong)} of {len(own)} tensors differ, first {wrong[0]!r} "
                f"(checkpoint: {'absent' if saved is None else tuple(saved.shape)}, "
                f"model: {tuple(own[wrong[0]].shape) if wrong[0] in own else 'absent'}); "
                "use the configuration that the checkpoint was made with (config.yaml in its run folder)"
            )
        for key, value in own.items():
            value.copy_(tensors[key])


class FullWeights(Weights):
    """Whole copies of a small model; for models built from scratch, where no frozen base is worth keeping."""

    def __init__(self, model: Any, names: Iterable[str]) -> None:
        super().__init__(names)
        self.models = nn.ModuleDict({name: copy.deepcopy(model) for name in self.names}).eval()
        self._named = {name: dict(self.models[name].named_parameters()) for name in self.names}

    def activate(self, name: str) -> Any:  # noqa: D102
        return self.models[name]

    def named(self, name: str) -> dict[str, nn.Parameter]:  # noqa: D102
        return self._named[name]

    def export(self, name: str, folder: Path, *, merge: bool = False, base_name: str | None = None) -> None:  # noqa: D102
        without_places(self.activate(name)).save_pretrained(folder)


class LoraWeights(Weights):
    """LoRA adapters (arXiv:2106.09685) on one frozen base; switching them moves no tensor.

    Args:
        model: the base, which is frozen and gets the adapters injected.
        names: one adapter each.
        config: PEFT's description of an adapter.
        adapter_dtype: of the adapters' values; they compute in the dtype of the base's activations.
        gradient_checkpointing: compute each layer again in backward, to save memory.
    """

    def __init__(
        self,
        model: Any,
        names: Iterable[str],
        config: LoraConfig,
        adapter_dtype: torch.dtype = torch.float32,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__(names)
        model.requires_grad_(False)
        if config.target_modules == "all-linear":  # as PEFT understands it, experts among them
            config.target_modules = set(adapted_layers(model))
            _tell_what_has_no_adapter(model)
        if not config.target_modules:
            raise InputError(
                f"model.base.name: found no linear layer in a model of the type {model.config.model_type!r}, expected "
                "some, which adapters are put on"
            )
        config._register_custom_module({nn.Linear: FusedLora})
        with warnings.catch_warnings():  # PEFT wonders whether several adapters are meant
            warnings.filterwarnings("ignore", "Already found a `peft_config`")
            for name in self.names:
                inject_adapter_in_model(config, model, adapter_name=name)
        self.model = model.eval()
        self.config = config
        self._layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
        for layer in self._layers:
            layer.cast_input_dtype_enabled = False
            for maps in (layer.lora_A, layer.lora_B):
                for name, linear in maps.items():
                    maps[name] = AdapterLinear.of(linear, adapter_dtype)
        self._named = {
            name: {
                k.replace(f".{name}.", "."): p for k, p in model.named_parameters() if f".{name}." in k and "lora_" in k
            }
            for name in self.names
        }
        self.gradient_checkpointing = gradient_checkpointing
        if gradient_checkpointing:
            _enable_checkpointing(model)
        self._active: str | None = None
        self.set_trainable(*self.names)  # DDP ignores for good what is frozen when it wraps the model

    def activate(self, name: str) -> Any:  # noqa: D102
        if self._active != name:
            trainable = [p for adapter in self._named.values() for p in adapter.values() if p.requires_grad]
            for layer in self._layers:
                layer.enable_adapters(bool(name))
                if name:
                    layer.set_adapter(name, inference_mode=True)
            for parameter in trainable:  # PEFT freezes and thaws with every switch; here a phase decides
                parameter.requires_grad_(True)
            self._active = name
        return self.model

    @property
    def has_base(self) -> bool:  # noqa: D102
        return True

    def named(self, name: str) -> dict[str, nn.Parameter]:  # noqa: D102
        return self._named[name]

    @property
    def base_name(self) -> str | None:  # noqa: D102
        return self.model.name_or_path or None

    def export(self, name: str, folder: Path, *, merge: bool = False, base_name: str | None = None) -> None:  # noqa: D102
        if merge:
            self._merged(name).save_pretrained(folder)
            return
        config = copy.copy(self.config)
        config.base_model_name_or_path = base_name or self.base_name
        config.task_type, config.inference_mode = "CAUSAL_LM", True
        config.target_modules = sorted(config.target_modules)  # what "all-linear" has become, in one order
        config.save_pretrained(folder)
        tensors = {f"base_model.model.{key}": p.detach().cpu().contiguous() for key, p in self.named(name).items()}
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def scoring_precision(self) -> AbstractContextManager[None]:  # noqa: D102
        return float32_forward(self.model) if computes_in_half(self.model) else nullcontext()

    @torch.no_grad()
    def _merged(self, name: str) -> Any:
        """The base's architecture anew, with W + s B A for each W that has an adapter."""
        if getattr(self.model, "is_quantized", False):
            raise InputError(
                "--merge: found a quantised base, into which an adapter does not fit without loss; export the adapter "
                "(--merge false), or load the run with --model.base.quantize=none"
            )
        tensors = {k.replace(".base_layer.", "."): v for k, v in self.model.state_dict().items() if ".lora_" not in k}
        for key, layer in self.model.named_modules():
            if isinstance(layer, LoraLayer):
                weight = tensors[f"{key}.weight"]
                tensors[f"{key}.weight"] = weight + layer.get_delta_weight(name).to(weight.dtype)
        with torch.device("meta"):
            merged = type(self.model)(self.model.config)
        merged.load_state_dict(tensors, assign=True)
        return merged


def _tell_what_has_no_adapter(model: Any) -> None:
    """Warn where layers that one would expect to learn do not."""
    left_out = without_adapter(model)
    if not left_out:
        return
    names = dict.fromkeys(re.sub(r"\.\d+\.", ".*.", name).removesuffix(".weight") for name in left_out)
    total = sum(p.numel() for p in model.parameters())
    log.warning(
        "adapters: %s have none, which are %.1f%% of the model's parameters: PEFT's all-linear takes single linear "
        "layers, not experts that are one tensor. All other linear layers learn (attention, as a rule)",
        ", ".join(names), 100 * sum(left_out.values()) / total,
    )  # fmt: skip


def _enable_checkpointing(model: Any) -> None:
    """Hugging Face's switch, which works on layers that are in training mode; none is until the engine says so."""
    enable = (
        getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    )  # older name
    try:
        enable({"use_reentrant": False, "preserve_rng_state": False})
    except ValueError as error:
        raise InputError(f"model.base.gradient_checkpointing: expected false, for this model: {error}") from error
    for layer in model.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            _without_dropout(layer)


def _without_dropout(layer: Any) -> None:
    """Some layers (OPT's, Falcon's) drop out by their own mode, in which they must be to be computed again."""
    for name, value in vars(layer).items():
        if name.endswith("dropout") and isinstance(value, float):
            setattr(layer, name, 0.0)
    if (config := getattr(layer, "config", None)) is not None:
        layer.config = copy.copy(config)  # the model's own is exported as it was
        for name, value in vars(config).items():
            if name.endswith("dropout") and isinstance(value, float):
                setattr(layer.config, name, 0.0)
