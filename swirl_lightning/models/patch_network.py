"""A codebook of patches that a small convolutional network learns (VQ-VAE; van den Oord et al., 2017).

Shape letters: B pictures, R rows and C columns of cells, S pixels of a cell's side, M cells of some pictures, K codes,
L numbers of a cell and of a code's vector, H rows and W columns of pixels.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swirl_lightning.codecs.patches import learn_patches
from swirl_lightning.codecs.tiles import Tiles
from swirl_lightning.pictures import Codebook

KIND = "network"
WIDTH = 64
UPDATES, CELLS = 400, 2048
"""Steps of the training, and cells of a step at least: a minute on one CPU core, whatever the data's size."""
MOST = 4000
"""Pictures that are learned from at most."""
LEARNING_RATE, DECAY, COMMITMENT = 1e-3, 0.99, 0.25
"""Of Adam at its highest, of the moving averages, and the weight of the loss that keeps vectors near their codes."""
DEAD = 0.02
"""Cells of a step, on average, below which a code is given up and begins anew where a cell of the data is."""


class Codes(nn.Module):
    """K vectors, each the moving average of what was nearest to it (van den Oord et al., 2017, appendix A.1).

    Args:
        code_KL: the vectors to begin with.
    """

    code_KL: Tensor
    total_KL: Tensor
    count_K: Tensor

    def __init__(self, code_KL: Tensor) -> None:
        super().__init__()
        self.register_buffer("code_KL", code_KL.clone())
        self.register_buffer("total_KL", code_KL.clone(), persistent=False)
        self.register_buffer("count_K", torch.ones(len(code_KL)), persistent=False)

    def nearest(self, z_ML: Tensor) -> Tensor:
        """The code of each vector. [M]"""
        return ((self.code_KL**2).sum(1) - 2 * z_ML @ self.code_KL.T).argmin(1)

    @torch.no_grad()
    def follow(self, z_ML: Tensor, code_M: Tensor) -> None:
        """Move the codes towards their vectors; a code that hardly any vector has takes the place of a random one."""
        count_K = torch.bincount(code_M, minlength=len(self.code_KL)).to(z_ML)
        total_KL = torch.zeros_like(self.total_KL).index_add_(0, code_M, z_ML)
        self.count_K.lerp_(count_K, 1 - DECAY)
        self.total_KL.lerp_(total_KL, 1 - DECAY)
        if (dead_K := self.count_K < DEAD).any():
            drawn_M = torch.randint(len(z_ML), (int(dead_K.sum()),))
            self.total_KL[dead_K], self.count_K[dead_K] = z_ML[drawn_M], 1.0
        self.code_KL.copy_(self.total_KL / self.count_K[:, None])


class Block(nn.Module):
    """Adds to each cell what its neighbourhood of ``side`` x ``side`` cells says."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(WIDTH, WIDTH, side, padding=side // 2)
        self.own = nn.Conv2d(WIDTH, WIDTH, 1)

    def forward(self, h_BDRC: Tensor) -> Tensor:
        """Of the same shape."""
        change_BDRC: Tensor = self.own(F.gelu(self.around(F.gelu(h_BDRC))))
        return h_BDRC + change_BDRC


class PatchNetwork(nn.Module):
    """The codebook. What a cell's code is follows from the cell alone; what is drawn of it, from its neighbours, too.

    So one cell that changes is one code that changes, as in the other codebooks. Pictures may have any number of cells.
    Both halves add to what they are given and begin by adding nothing, so that training begins where k-means ends.

    Args:
        code_KL: vectors of the codes to begin with, in the values of cells.
        cell: S.
    """

    def __init__(self, code_KL: Tensor, cell: int) -> None:
        super().__init__()
        self.size, L = code_KL.shape
        self.cell = cell
        self.codes = Codes(code_KL)
        self.read = nn.Sequential(nn.Conv2d(L, WIDTH, 1), Block(1), nn.GELU(), _nothing(L))
        self.draw = nn.Sequential(nn.Conv2d(L, WIDTH, 1), Block(3), Block(3), nn.GELU(), _nothing(L))
        self.name = ""

    def finish(self) -> PatchNetwork:
        """Take the weights as 16 bits hold them, which are what :meth:`saved` writes, and name them."""
        with torch.no_grad():
            for weight in self.state_dict().values():
                weight.copy_(weight.half())
        # codes of a picture must be the same wherever it is read: no rounding may choose between two
        self.double().eval().requires_grad_(False)
        self.name = f"{KIND}-{blake2b(self.saved().encode(), digest_size=6).hexdigest()}"
        return self

    @classmethod
    def restore(cls, saved: str) -> PatchNetwork:
        """The codebook that :meth:`saved` wrote down."""
        _, size, cell, data = saved.split(":")
        network = cls(torch.zeros(int(size), 3 * int(cell) ** 2), int(cell))
        numbers = torch.from_numpy(np.frombuffer(base64.b64decode(data), "<f2").astype(np.float32))
        with torch.no_grad():
            state = network.state_dict().values()
            for weight, part in zip(state, numbers.split([weight.numel() for weight in state]), strict=True):
                weight.copy_(part.view_as(weight))
        return network.finish()

    def saved(self) -> str:
        """The codebook as text, for a checkpoint."""
        numbers = torch.cat([weight.flatten() for weight in self.state_dict().values()]).numpy().astype("<f2")
        return f"{KIND}:{self.size}:{self.cell}:{base64.b64encode(numbers.tobytes()).decode()}"

    def encode(self, pixels_HW3: np.ndarray) -> np.ndarray:
        """The code of each cell. [R, C]"""
        x_1LRC = cells_of(pixels_HW3[None], self.cell).double()
        z_1LRC = x_1LRC + self.read(x_1LRC)
        codes: np.ndarray = self.codes.nearest(z_1LRC[0].flatten(1).T).view(z_1LRC.shape[2:]).numpy()
        return codes

    def decode(self, codes_RC: np.ndarray) -> np.ndarray:
        """The pixels that codes stand for. [H, W, 3], uint8"""
        q_1LRC = self.codes.code_KL[torch.as_tensor(codes_RC)].permute(2, 0, 1)[None]
        pixels_13HW = F.pixel_shuffle(q_1LRC + self.draw(q_1LRC), self.cell) * 127.5 + 127.5
        drawn: np.ndarray = pixels_13HW[0].clamp(0, 255).round().byte().permute(1, 2, 0).numpy()
        return drawn

    def loss(self, x_BLRC: Tensor) -> Tensor:
        """Squared error of what is drawn of some pictures' codes; the codes follow the cells."""
        z_BLRC = x_BLRC + self.read(x_BLRC)
        z_ML = z_BLRC.permute(0, 2, 3, 1).flatten(0, 2)
        code_M = self.codes.nearest(z_ML.detach())
        B, L, R, C = z_BLRC.shape
        q_BLRC = self.codes.code_KL[code_M].view(B, R, C, L).permute(0, 3, 1, 2)
        commitment = F.mse_loss(z_BLRC, q_BLRC)
        q_BLRC = z_BLRC + (q_BLRC - z_BLRC).detach()  # the gradient goes straight through
        self.codes.follow(z_ML.detach(), code_M)
        return F.mse_loss(q_BLRC + self.draw(q_BLRC), x_BLRC) + COMMITMENT * commitment


def _nothing(channels: int) -> nn.Conv2d:
    """A last layer that begins as zero."""
    layer = nn.Conv2d(WIDTH, channels, 1)
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def learn_network(pictures: Iterable[np.ndarray], cell: int, size: int, seed: int = 0) -> PatchNetwork:
    """Train a codebook of some pictures; the same ones and the same seed give the same codebook on one machine.

    Args:
        pictures: each [H, W, 3], of one size.
        cell: S.
        size: K.
        seed: of the pictures that are learned from, where there are too many, and of the training.
    """
    rng = np.random.default_rng(seed)
    kept = list(pictures)
    if len(kept) > MOST:
        kept = [kept[n] for n in sorted(rng.choice(len(kept), MOST, replace=False))]
    data_NHW3 = np.stack(kept)
    height, width = data_NHW3.shape[1:3]
    batch = -(-CELLS * cell**2 // (height * width))

    tiles_NHW3 = learn_patches(kept, cell, size, seed).tiles_NSS3
    code_KL = torch.zeros(size, 3 * cell**2)
    code_KL[: len(tiles_NHW3)] = cells_of(tiles_NHW3, cell).flatten(1)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        network = PatchNetwork(code_KL, cell)
        optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=UPDATES, pct_start=0.1)
        for _ in range(UPDATES):
            optimizer.zero_grad()
            network.loss(cells_of(data_NHW3[rng.choice(len(data_NHW3), batch)], cell)).backward()
            optimizer.step()
            schedule.step()
    return network.finish()


def cells_of(pixels_BHW3: np.ndarray, cell: int) -> Tensor:
    """Pictures as what their cells show, from -1 to 1. [B, 3 * S * S, R, C]"""
    x_B3HW = torch.tensor(pixels_BHW3).permute(0, 3, 1, 2)
    return F.pixel_unshuffle(x_B3HW.float() / 127.5 - 1, cell)


def restore_codebook(saved: str) -> Codebook:
    """The codebook of a checkpoint, of whatever kind."""
    return PatchNetwork.restore(saved) if saved.startswith(f"{KIND}:") else Tiles.restore(saved)
