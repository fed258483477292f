"""The VQGAN of Chameleon (arXiv:2405.09818), whose codes Liquid and Anole write too.

transformers has the half that makes codes of pictures. The half that makes pictures of codes is built here from its
blocks, with the names of the original file.

Shape letters: H rows and W columns of pixels, R rows and C columns of codes, L latent channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ChameleonVQVAEConfig
from transformers.models.chameleon.modeling_chameleon import (
    ChameleonVQVAE,
    ChameleonVQVAEEncoderAttnBlock,
    ChameleonVQVAEEncoderResnetBlock,
)

PARTS = ("encoder.", "decoder.", "quantize.", "quant_conv.", "post_quant_conv.")
"""What names of the original file's weights begin with; others are of what it was trained with."""
RESOLUTION = 512
"""Stands for the resolution of training, which decides nothing but what a level with attention is called."""


class Decoder(nn.Module):
    """Pixels of latents: the encoder's levels upside down, with one block more in each.

    Args:
        config: of the encoder.
    """

    def __init__(self, config: ChameleonVQVAEConfig) -> None:
        super().__init__()
        widths = [config.base_channels * factor for factor in config.channel_multiplier]
        width, resolution = widths[-1], config.resolution >> (len(widths) - 1)
        self.conv_in = nn.Conv2d(config.latent_channels, width, 3, padding=1)
        self.mid = _parts(
            block_1=ChameleonVQVAEEncoderResnetBlock(config, width, width),
            attn_1=ChameleonVQVAEEncoderAttnBlock(width),
            block_2=ChameleonVQVAEEncoderResnetBlock(config, width, width),
        )
        levels: list[nn.Module] = []
        for wide in reversed(widths):
            level: Any = _parts(block=nn.ModuleList(), attn=nn.ModuleList())
            for _ in range(config.num_res_blocks + 1):
                level.block.append(ChameleonVQVAEEncoderResnetBlock(config, width, wide))
                if resolution in (config.attn_resolutions or ()):
                    level.attn.append(ChameleonVQVAEEncoderAttnBlock(wide))
                width = wide
            if len(levels) < len(widths) - 1:
                level.upsample = _parts(conv=nn.Conv2d(width, width, 3, padding=1))
                resolution *= 2
            levels.append(level)
        self.up = nn.ModuleList(levels[::-1])
        self.norm_out = nn.GroupNorm(32, width, eps=1e-6)
        self.conv_out = nn.Conv2d(width, config.in_channels, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """[1, L, R, C] to [1, 3, H, W]."""
        mid: Any = self.mid
        x = mid.block_2(mid.attn_1(mid.block_1(self.conv_in(latents))))
        levels: list[Any] = list(self.up)[::-1]
        for level in levels:
            for n, block in enumerate(level.block):
                x = block(x)
                if level.attn:
                    x = level.attn[n](x)
            if hasattr(level, "upsample"):
                x = level.upsample.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(x)))


class Vqgan(nn.Module):
    """Codes of pictures, and pictures of codes.

    Args:
        config: of both halves.
    """

    mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    """Pictures come with values in [-1, 1]."""

    def __init__(self, config: ChameleonVQVAEConfig) -> None:
        super().__init__()
        self.vqvae = ChameleonVQVAE(config)
        self.decoder = Decoder(config)
        self.size: int = config.num_embeddings
        self.cell: int = 2 ** (len(config.channel_multiplier) - 1)

    def codes(self, x: Tensor) -> Tensor:
        """[1, 3, H, W] to [R, C]."""
        height, width = (length // self.cell for length in x.shape[2:])
        return self.vqvae.encode(x, return_dict=True).image_tokens.view(height, width)

    def picture(self, codes_RC: Tensor) -> Tensor:
        """[R, C] to [1, 3, H, W]."""
        latents = self.vqvae.quantize.embedding(codes_RC).permute(2, 0, 1)[None]
        return self.decoder(self.vqvae.post_quant_conv(latents))

    def tensors(self) -> dict[str, Tensor]:
        """The weights by the names of the original file."""
        return {**self.vqvae.state_dict(), **{f"decoder.{k}": v for k, v in self.decoder.state_dict().items()}}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take weights by these names, themselves: the network may be on torch's device ``meta`` before.

        Raises:
            RuntimeError: some are missing, of another shape, or too many.
        """
        halves: dict[bool, dict[str, Tensor]] = {True: {}, False: {}}
        for name, tensor in tensors.items():
            halves[name.startswith("decoder.")][name.removeprefix("decoder.")] = tensor
        self.decoder.load_state_dict(halves[True], assign=True)
        self.vqvae.load_state_dict(halves[False], assign=True)


def own_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The VQGAN's weights among those of a file, which may also hold the losses that it was trained with."""
    return {name: tensor for name, tensor in tensors.items() if name.startswith(PARTS)}


def vqgan_config(tensors: Mapping[str, Tensor]) -> ChameleonVQVAEConfig:
    """The configuration that weights say, by their names and shapes.

    Raises:
        KeyError: they are not those of such a network.
    """
    base = tensors["encoder.conv_in.weight"].shape[0]
    levels = 0
    while f"encoder.down.{levels}.block.0.conv1.weight" in tensors:
        levels += 1
    blocks = 0
    while f"encoder.down.0.block.{blocks}.conv1.weight" in tensors:
        blocks += 1
    widths = [tensors[f"encoder.down.{n}.block.0.conv1.weight"].shape[0] for n in range(levels)]
    attends = [RESOLUTION >> n for n in range(levels) if f"encoder.down.{n}.attn.0.q.weight" in tensors]
    latent, embed = tensors["post_quant_conv.weight"].shape[:2]
    return ChameleonVQVAEConfig(
        embed_dim=embed,
        num_embeddings=tensors["quantize.embedding.weight"].shape[0],
        double_latent=tensors["encoder.conv_out.weight"].shape[0] == 2 * latent,
        latent_channels=latent,
        resolution=RESOLUTION,
        in_channels=tensors["encoder.conv_in.weight"].shape[1],
        base_channels=base,
        channel_multiplier=[width // base for width in widths],
        num_res_blocks=blocks,
        attn_resolutions=attends or None,
    )


def _parts(**modules: nn.Module) -> nn.Module:
    """Modules under the names of the original file."""
    found = nn.Module()
    for name, module in modules.items():
        found.add_module(name, module)
    return found
