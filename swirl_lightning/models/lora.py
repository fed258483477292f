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
        out = linear(self.base_layer, x)
        if self.disable_adapters:
            return out
        (name,) = self.active_adapters
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        if few(x) and x.dtype != up.dtype:
            return add_low_rank(out, x, down, up, self.scaling[name])
        low = self.lora_A[name](x) * self.scaling[name]
        flat = out.view(-1, out.shape[-1])
        # what a quantised layer returns is a view that autograd does not let anyone write to
        add = flat.addmm_ if type(self.base_layer) is nn.Linear else flat.addmm
        return add(low.view(-1, low.shape[-1]), up.to(low.dtype).T).view(out.shape)
