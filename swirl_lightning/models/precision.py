"""Which number formats a model computes in: the base's own, the adapters', and a wider one for rewards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swirl_lightning.engine.half_attention import HALF

Precision = Literal["auto", "float32", "bfloat16", "float16"]
CPU_BFLOAT16 = ("amx_bf16", "avx512_bf16", "sve_bf16", "bf16")
"""Instruction sets that multiply bfloat16, by torch's names; without one of them it is slower than float32."""


def choose_dtype(wanted: Precision, device: torch.device) -> tuple[torch.dtype, str]:
    """The dtype that a base computes in, and why.

    Args:
        wanted: a dtype by name, or ``auto``: bfloat16 where the device has it, else float16 on a GPU and float32 on
            a CPU.
        device: where the base will be.
    """
    if wanted != "auto":
        return getattr(torch, wanted), "as model.base.dtype says"
    if device.type == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
        dtype, verb = (torch.bfloat16, "has") if has else (torch.float16, "lacks")
        return dtype, f"{torch.cuda.get_device_name(device)} {verb} bfloat16"
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # older ones cannot tell
    found = [name for name in CPU_BFLOAT16 if capabilities.get(name)] if device.type == "cpu" else []
    if found:
        return torch.bfloat16, f"the processor has {found[0]}"
    return torch.float32, "the processor has no bfloat16 instructions"


class AdapterLinear(nn.Linear):
    """A linear map that computes in the dtype of its input, whatever the dtype of its weight.

    PEFT casts every input to the adapter's dtype and keeps the wider copy for backward; casting the small weight
    instead costs less time and memory.
    """

    @classmethod
    def of(cls, linear: nn.Linear, dtype: torch.dtype) -> AdapterLinear:
        """The same map, its weight kept in ``dtype``."""
        with torch.device("meta"):
            made = cls(linear.in_features, linear.out_features, bias=False)
        made.weight = nn.Parameter(linear.weight.detach().to(dtype), requires_grad=linear.weight.requires_grad)
        return made

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.linear(x, self.weight.to(x.dtype))


@contextmanager
def float32_forward(model: Any) -> Iterator[None]:
    """Let a model of half precision compute in float32, exactly as a float32 copy of it would, without the copy.

    Every module widens its own parameters while it runs; token embeddings are widened after the look-up, and adapters
    follow their input. Without gradients.
    """
    narrow: dict[nn.Parameter, Tensor] = {}
    embedding = model.get_input_embeddings()

    def widen(module: nn.Module, args: Any) -> None:
        for parameter in module.parameters(recurse=False):
            if parameter.dtype in HALF:
                narrow[parameter] = parameter.data
                parameter.data = parameter.data.float()

    def restore(module: nn.Module, args: Any, output: Any) -> None:
        for parameter in module.parameters(recurse=False):
            if parameter in narrow:
                parameter.data = narrow.pop(parameter)

    handles = [embedding.register_forward_hook(lambda module, args, output: output.float())]
    quantized = [module for module in model.modules() if hasattr(module, "quant_state")]
    compute_dtypes = [module.compute_dtype for module in quantized]
    for module in model.modules():
        adapted = module is embedding or isinstance(module, AdapterLinear)
        if not adapted and any(p.dtype in HALF for p in module.parameters(recurse=False)):
            handles += [module.register_forward_pre_hook(widen), module.register_forward_hook(restore)]
    for module in quantized:
        module.compute_dtype = torch.float32
    matmul = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # TF32 on a GPU: bfloat16 weights are exact in it
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        for module, dtype in zip(quantized, compute_dtypes, strict=True):
            module.compute_dtype = dtype
        for handle in handles:
            handle.remove()
        for parameter, data in narrow.items():
            parameter.data = data
