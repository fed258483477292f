"""VQ networks as codebooks: where their weights lie, what they are called, and their codes and pictures.

Shape letters: H rows and W columns of pixels, R rows and C columns of codes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from shutil import copyfile
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Emu3VQVAE, Emu3VQVAEConfig
from transformers.utils import cached_file

from swirl_lightning.models import vqgan
from swirl_lightning.models.vqgan import Vqgan, own_names, vqgan_config
from swirl_lightning.types import InputError

PREPARED = "fitted 1"
"""Stands for ``pictures.fitted``, through which pictures come here; to be changed with it."""
INSIDE = re.compile(r"^(model\.)?vqmodel\.")
"""What names of a VQ network's weights begin with in the files of a language model."""
VQGAN = "vqgan.safetensors"
"""The file of an exported VQGAN, with the names of the original one."""
DECODED = 64
"""Pictures of codes that are kept, for what asks for one several times."""


class VqNetwork(Protocol):
    """A frozen network that makes codes of pictures and pictures of codes.

    Args:
        size: number of codes.
        cell: pixels of a code's side.
        mean: of pixel values in [0, 1], by colour, which the network has as 0.
        std: of these, which it has as 1.
    """

    size: int
    cell: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def codes(self, x: Tensor) -> Tensor:
        """[1, 3, H, W] to [R, C]."""
        ...

    def picture(self, codes_RC: Tensor) -> Tensor:
        """[R, C] to [1, 3, H, W]."""
        ...


class Emu3Vq(nn.Module):
    """The VQ network of Emu3 (arXiv:2409.18869), of which transformers has both halves.

    Args:
        config: of it.
    """

    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    """Those of CLIP's training pictures."""

    def __init__(self, config: Emu3VQVAEConfig) -> None:
        super().__init__()
        self.vqvae = Emu3VQVAE(config)
        self.size: int = config.codebook_size
        self.cell: int = self.vqvae.spatial_scale_factor

    def codes(self, x: Tensor) -> Tensor:
        """[1, 3, H, W] to [R, C]."""
        return self.vqvae.encode(x, [x.shape[2:]], return_dict=True).image_tokens[0]

    def picture(self, codes_RC: Tensor) -> Tensor:
        """[R, C] to [1, 3, H, W]."""
        return self.vqvae.decode(codes_RC[None])


class VqCodebook:
    """A VQ network as a ``Codebook``, which is called by its weights and by what is done to pictures before.

    Args:
        network: whose weights stay as they are, in float32.
        kind: what it is called.
    """

    def __init__(self, network: Any, kind: str) -> None:
        self.network = network.float().eval().requires_grad_(False)
        self.size: int = network.size
        self.cell: int = network.cell
        digest = blake2b(repr((PREPARED, network.mean, network.std)).encode(), digest_size=6)
        for name, tensor in sorted(network.state_dict().items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        self.name = f"{kind}-{digest.hexdigest()}"
        self._decoded: Callable[[bytes, tuple[int, int]], np.ndarray] = lru_cache(maxsize=DECODED)(self._decode)

    def to(self, device: torch.device) -> None:
        """Compute there from now on."""
        self.network.to(device)

    def saved(self) -> str:
        """The name; the weights lie with the base model."""
        return self.name

    def export(self, folder: Path) -> None:
        """Write a VQGAN, and the Python that makes it of its weights and needs torch and transformers alone.

        transformers has but the half of it that makes codes. Nothing is written of a network that it has whole, which
        lies with the base model.
        """
        if isinstance(self.network, Vqgan):
            tensors = {name: tensor.cpu().contiguous() for name, tensor in self.network.tensors().items()}
            save_file(tensors, folder / VQGAN, metadata={"format": "pt"})
            copyfile(vqgan.__file__, folder / "vqgan.py")

    @torch.no_grad()
    def encode(self, pixels_HW3: np.ndarray) -> np.ndarray:
        """The code of each cell. [R, C]"""
        x = torch.tensor(pixels_HW3, device=self._device).permute(2, 0, 1)[None].float() / 255
        return self.network.codes((x - self._row("mean")) / self._row("std")).cpu().numpy()

    def decode(self, codes_RC: np.ndarray) -> np.ndarray:
        """The picture that the network makes of codes; not to be written to. [H, W, 3], uint8"""
        rows, columns = codes_RC.shape
        return self._decoded(codes_RC.astype(np.int64).tobytes(), (rows, columns))

    @torch.no_grad()
    def _decode(self, codes: bytes, shape: tuple[int, int]) -> np.ndarray:
        codes_RC = torch.tensor(np.frombuffer(codes, np.int64).reshape(shape), device=self._device)
        x = self.network.picture(codes_RC) * self._row("std") + self._row("mean")
        picture = (255 * x).round().clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).cpu().numpy()
        picture.flags.writeable = False
        return picture

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _row(self, name: str) -> Tensor:
        return torch.tensor(getattr(self.network, name), device=self._device).view(1, 3, 1, 1)


def read_vqgan(place: str, key: str = "model.base.vq") -> Vqgan:
    """The VQGAN of a file with the original names, or of a folder with one such file.

    Args:
        place: of the file, a checkpoint of torch's or of safetensors, such as vqgan.ckpt.
        key: the option, for messages.

    Raises:
        InputError: there is none, or it is of another architecture.
    """
    return vqgan_of(own_names(_tensors(vq_file(place, key), key)), f"{key}: {place}")


def empty_vqgan(place: str) -> Vqgan:
    """The same network on torch's default device, without the file's numbers."""
    return Vqgan(vqgan_config(own_names(_tensors(vq_file(place, "model.base.vq"), "model.base.vq"))))


def vqgan_of(tensors: Mapping[str, Tensor], where: str) -> Vqgan:
    """A VQGAN of its weights, which say its architecture.

    Raises:
        InputError: they do not make one; the half that makes pictures may be what is missing.
    """
    if tensors and not any(name.startswith("decoder.") for name in tensors):
        raise InputError(
            f"{where}: found no decoder, without which codes have no pixels; set model.base.vq to the original VQGAN "
            "file (vqgan.ckpt), which has one"
        )
    try:
        with torch.device("meta"):  # no random numbers are drawn for what is read
            network = Vqgan(vqgan_config(tensors))
        network.load(tensors)
    except (KeyError, RuntimeError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"{where}: found no VQGAN of Chameleon's kind ({' '.join(str(error).split())[:200]}), expected the "
            "original file, with the names encoder.conv_in.weight, quantize.embedding.weight, decoder.conv_out.weight "
            "and so on"
        ) from error
    return network


def vq_file(place: str, key: str) -> Path:
    """The file that a path names: itself, or the only one of its kind in a folder.

    Raises:
        InputError: there is none, or several.
    """
    path = Path(place)
    if path.is_dir():
        found = [p for suffix in ("*.safetensors", "*.ckpt", "*.pt", "*.pth") for p in sorted(path.glob(suffix))]
        if len(found) != 1:
            raise InputError(
                f"{key}: found {[p.name for p in found] or 'no file of weights'} in {place}, expected one file "
                "(.safetensors, .ckpt, .pt or .pth); name the file itself"
            )
        return found[0]
    if not path.is_file():
        raise InputError(f"{key}: found no file {place}, expected the VQGAN's weights, such as vqgan.ckpt")
    return path


def weights_inside(name: str, key: str = "model.base.name") -> dict[str, Tensor]:
    """The weights of the VQ network that lie in the files of a language model, without what their names begin with.

    Args:
        name: a folder in the Hugging Face layout, or a name on the hub, from which those files alone are taken.
        key: the option, for the message.

    Raises:
        InputError: there are no such files, or none of its weights in them.
    """
    try:
        index = cached_file(name, "model.safetensors.index.json", _raise_exceptions_for_missing_entries=False)
        files = {"model.safetensors"}
        if index is not None:
            places = json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"]
            files = {file for weight, file in places.items() if INSIDE.match(weight)}
        found: dict[str, Tensor] = {}
        for file in sorted(files):
            path = cached_file(name, file)
            assert path is not None
            with safe_open(path, "pt") as shard:
                found |= {INSIDE.sub("", k): shard.get_tensor(k) for k in shard.keys() if INSIDE.match(k)}  # noqa: SIM118
    except Exception as error:  # of the hub, of the file system, of a damaged file
        raise InputError(
            f"{key}: cannot read the VQ network of {name!r} ({type(error).__name__}: {str(error).splitlines()[0]}); "
            "expected a model in the Hugging Face layout, with its weights as safetensors"
        ) from error
    if not found:
        raise InputError(f"{key}: found no VQ network (names with vqmodel.) in the files of {name!r}, expected one")
    return found


def _tensors(path: Path, key: str) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        read = torch.load(path, map_location="cpu", weights_only=True)
        read = read.get("state_dict", read)
        return {name: tensor for name, tensor in read.items() if isinstance(tensor, Tensor)}
    except Exception as error:  # a file can be anything
        raise InputError(
            f"{key}: cannot read {path} ({type(error).__name__}: {str(error).splitlines()[0][:120]}), expected weights "
            "alone; a file that holds other objects is not opened, for it could run a program: where you trust it, "
            "write its state_dict anew with safetensors.torch.save_file"
        ) from error
