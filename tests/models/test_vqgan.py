"""The VQGAN with the original file's names, against a naive computation from the weights by these names."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from picture_models import original_names, vqgan, write_vqgan

from swirl_lightning.models.vq import VqCodebook, empty_vqgan, read_vqgan
from swirl_lightning.types import InputError

SMALL = {"channel_multiplier": [1, 1, 2], "num_res_blocks": 2}


def names(levels, blocks, attends=()):
    """All names of such a network, as the reference architecture (taming transformers, arXiv:2012.09841) has them."""

    def block(name, shortcut=False):
        parts = ["norm1", "conv1", "norm2", "conv2", *(["nin_shortcut"] if shortcut else [])]
        return [f"{name}.{part}" for part in parts]

    def attention(name):
        return [f"{name}.{part}" for part in ("norm", "q", "k", "v", "proj_out")]

    found = ["quant_conv", "post_quant_conv"]
    for half, more in (("encoder", 0), ("decoder", 1)):
        found += [f"{half}.{part}" for part in ("conv_in", "norm_out", "conv_out")]
        found += block(f"{half}.mid.block_1") + attention(f"{half}.mid.attn_1") + block(f"{half}.mid.block_2")
        way = "up" if more else "down"
        for level in range(levels):
            for n in range(blocks + more):
                widens = (level == 2 and n == 0) if not more else (level == 1 and n == 0)
                found += block(f"{half}.{way}.{level}.block.{n}", shortcut=widens)
                found += attention(f"{half}.{way}.{level}.attn.{n}") if level in attends else []
        for level in range(more, levels - 1 + more):
            found.append(f"{half}.{way}.{level}.{'upsample' if more else 'downsample'}.conv")
    both = {f"{name}.{kind}" for name in found for kind in ("weight", "bias")}
    return both | {"quantize.embedding.weight"}


def naive_picture(weights, codes_RC, levels, blocks, attends=()):
    """Pixels of codes, operation by operation."""

    def conv(name, x, padding=0):
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding)

    def norm(name, x):
        groups = x.reshape(x.shape[0], 32, -1)
        normed = (groups - groups.mean(-1, keepdim=True)) / (groups.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
        return normed.reshape(x.shape) * weights[f"{name}.weight"].view(-1, 1, 1) + weights[f"{name}.bias"].view(
            -1, 1, 1
        )

    def swish(x):
        return x / (1 + (-x).exp())

    def block(name, x):
        h = conv(f"{name}.conv1", swish(norm(f"{name}.norm1", x)), 1)
        h = conv(f"{name}.conv2", swish(norm(f"{name}.norm2", h)), 1)
        return h + (conv(f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in weights else x)

    def attention(name, x):
        h = norm(f"{name}.norm", x)
        q, k, v = (conv(f"{name}.{part}", h).flatten(2)[0] for part in "qkv")
        seen = torch.softmax(q.T @ k / q.shape[0] ** 0.5, 1)
        return x + conv(f"{name}.proj_out", (v @ seen.T).reshape(x.shape))

    x = weights["quantize.embedding.weight"][codes_RC].permute(2, 0, 1)[None]
    x = conv("decoder.conv_in", conv("post_quant_conv", x), 1)
    x = block("decoder.mid.block_2", attention("decoder.mid.attn_1", block("decoder.mid.block_1", x)))
    for level in reversed(range(levels)):
        for n in range(blocks + 1):
            x = block(f"decoder.up.{level}.block.{n}", x)
            if level in attends:
                x = attention(f"decoder.up.{level}.attn.{n}", x)
        if level:
            x = conv(f"decoder.up.{level}.upsample.conv", x.repeat_interleave(2, 2).repeat_interleave(2, 3), 1)
    return conv("decoder.conv_out", swish(norm("decoder.norm_out", x)), 1)


@pytest.mark.parametrize("attends", [(), (1,)])
def test_pixels_and_codes(attends):
    """In float32, to 1e-4."""
    network = vqgan(**SMALL, attn_resolutions=[512 >> level for level in attends] or None)
    weights = original_names(network)
    assert set(weights) == names(3, 2, attends)
    codes = torch.randint(0, network.size, (4, 4), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(
            network.picture(codes), naive_picture(weights, codes, 3, 2, attends), atol=1e-4, rtol=1e-4
        )
        x = torch.rand(1, 3, 16, 16) * 2 - 1
        latents = network.vqvae.quant_conv(network.vqvae.encoder(x))[0].permute(1, 2, 0)
        distance = ((latents[:, :, None] - weights["quantize.embedding.weight"]) ** 2).sum(-1)
        assert torch.equal(network.codes(x), distance.argmin(-1))


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_a_file_with_the_original_names(tmp_path, suffix):
    """What it was trained with is left aside; the architecture follows from the weights."""
    network = vqgan(**SMALL, attn_resolutions=[256])
    path = tmp_path / f"vqgan{suffix}"
    if suffix == ".ckpt":
        write_vqgan(path, network)
    else:
        save_file(original_names(network) | {"loss.logvar": torch.zeros(1)}, path)
    for place in (path, tmp_path):
        again = read_vqgan(str(place))
        assert VqCodebook(again, "vqgan").name == VqCodebook(network, "vqgan").name
        assert (again.size, again.cell) == (network.size, 4)
    with torch.device("meta"):
        empty = empty_vqgan(str(path))
    assert {n: p.shape for n, p in empty.state_dict().items()} == {n: p.shape for n, p in network.state_dict().items()}


def test_what_is_no_vqgan_is_told(tmp_path):
    weights = original_names(vqgan(**SMALL))
    cases = {
        "no_encoder": {name: x for name, x in weights.items() if not name.startswith("encoder.")},
        "one_less": {name: x for name, x in weights.items() if name != "decoder.up.1.block.2.conv1.bias"},
        "one_more": weights | {"decoder.up.7.block.0.conv1.bias": torch.zeros(1)},
        "other": {"weight": torch.zeros(2)},
    }
    for name, tensors in cases.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
        with pytest.raises(InputError, match=rf"model\.base\.vq: .*{name}.*: found no VQGAN of Chameleon's kind"):
            read_vqgan(str(tmp_path / f"{name}.safetensors"))
    save_file({k: v for k, v in weights.items() if not k.startswith("decoder.")}, tmp_path / "half.safetensors")
    with pytest.raises(InputError, match="found no decoder, without which codes have no pixels"):
        read_vqgan(str(tmp_path / "half.safetensors"))
    with pytest.raises(InputError, match=r"found \['half.safetensors', .*name the file itself"):
        read_vqgan(str(tmp_path))
    with pytest.raises(InputError, match="found no file .*none.ckpt"):
        read_vqgan(str(tmp_path / "none.ckpt"))


def test_a_file_that_could_run_a_program_is_not_opened(tmp_path):
    torch.save(
        {"state_dict": original_names(vqgan(**SMALL)), "callback": InputError("any object")}, tmp_path / "a.ckpt"
    )
    with pytest.raises(InputError, match="could run a program: where you trust it, write its state_dict anew"):
        read_vqgan(str(tmp_path / "a.ckpt"))
