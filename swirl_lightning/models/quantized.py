"""Quantised bases whose values do not depend on the batch, and that gradients pass through."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def prepare_quantized(model: Any) -> None:
    """Mend two traits of bitsandbytes layers that are harmless in inference and not in reinforcement learning.

    * 4 bit: on some processors a pass without gradient packs the weights anew, in a form that has no derivative. In the
      next pass with gradient, all that lies before such a layer would get none, without an error.
    * 8 bit: LLM.int8() (arXiv:2208.07339) quantises activations too, and which of their columns are spared depends on
      the other texts of the batch: a text would be scored differently from how it was sampled. Here the weights alone
      are of 8 bits.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
        if isinstance(module, nn.Linear) and hasattr(module.weight, "SCB"):
            module.forward = partial(_forward_int8, module)  # type: ignore[method-assign]


def _forward_int8(linear: nn.Linear, x: Tensor) -> Tensor:
    weight: Any = linear.weight
    y: Tensor = _Int8Matmul.apply(x, weight.data, weight.SCB)
    return y if linear.bias is None else y + linear.bias.to(y.dtype)


class _Int8Matmul(torch.autograd.Function):
    """x W^T for rows of 8-bit integers that stand for W: row o is ``weight_OI[o] / 127 * scale_O[o]``.

    Integers up to 127 are exact in every dtype. The wide W exists while it is multiplied, in backward once more.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_OI: Tensor, scale_O: Tensor) -> Tensor:
        ctx.factors = weight_OI, scale_O * (128 / 127)
        y = F.linear(x / 128, weight_OI.to(x.dtype))  # a power of two is exact, and float16 does not overflow
        return (y * ctx.factors[1]).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        weight_OI, scale_O = ctx.factors
        grad = (grads[0] * scale_O).to(grads[0].dtype)
        return grad @ weight_OI.to(grad.dtype) / 128, None, None
