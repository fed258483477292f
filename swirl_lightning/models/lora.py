"""A linear layer with LoRA adapters that adds to the base layer's output in place."""

from __future__ import annotations

from typing import Any

from peft.tuners import lora
from torch import Tensor, nn

from swirl_lightning.engine.few_rows import add_low_rank, few, linear


class FusedLora(lora.Linear):
    """PEFT's LoRA layer, W x + s B A x (arXiv:2106.09685), with two fewer passes over the output.

    PEFT multiplies B A x by the scale and adds it to W x; here the scale goes to A x, which is small, and one matrix
    product adds to W x where it stands, in forward and in backward.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: D102
        if self.disable_adapters:
            return linear(self.base_layer, x)
        (name,) = self.active_adapters
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        flat = x.reshape(-1, x.shape[-1])  # of a product with two dimensions no view is returned: see below
        out = linear(self.base_layer, flat)
        if few(x) and x.dtype != up.dtype:
            out = add_low_rank(out, flat, down, up, self.scaling[name])
        else:
            low = self.lora_A[name](flat) * self.scaling[name]
            # in place on a view, autograd copies all gradients; and a quantised layer's view it lets no one write to
            add = out.addmm_ if type(self.base_layer) is nn.Linear else out.addmm
            out = add(low, up.to(low.dtype).T)
        return out.view(*x.shape[:-1], -1)
