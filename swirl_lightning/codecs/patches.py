"""A codebook of patches that is learned from pictures of any kind, by k-means (Linde et al., 1980).

Shape letters: N patches, K codes, D numbers of a patch.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from swirl_lightning.codecs.tiles import Tiles, cut

MOST, ROUNDS = 20_000, 20
"""Distinct patches that are learned from at most, and rounds of the algorithm at most."""


def learn_patches(pictures: Iterable[np.ndarray], cell: int, size: int, seed: int = 0) -> Tiles:
    """The patches that stand for those of some pictures with the least squared error, as far as k-means finds them.

    They begin as patches that are far from one another (k-means++). Where the pictures are made of no more distinct
    patches than there are codes, these are the codebook, and nothing is lost.

    Args:
        pictures: each [H, W, 3].
        cell: side of a patch, in pixels.
        size: K.
        seed: of the patches that are learned from, where there are too many, and of those begun with.
    """
    counts: dict[bytes, int] = {}
    for picture in pictures:
        for patch in cut(picture, cell).reshape(-1, cell, cell, 3):
            counts[patch.tobytes()] = counts.get(patch.tobytes(), 0) + 1
    rng = np.random.default_rng(seed)
    known = sorted(counts)
    if len(known) > MOST:
        known = [known[n] for n in sorted(rng.choice(len(known), MOST, replace=False))]
    x_ND = np.frombuffer(b"".join(known), np.uint8).reshape(len(known), -1).astype(np.float32)
    weight_N = np.array([counts[patch] for patch in known], np.float32)
    if len(known) > size:
        x_ND = _k_means(x_ND, weight_N, size, rng)
    return Tiles(x_ND.round().astype(np.uint8).reshape(-1, cell, cell, 3), size, kind="patches")


def _k_means(x_ND: np.ndarray, weight_N: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """The means. [K, D]"""
    means_KD = x_ND[rng.choice(len(x_ND), 1, p=weight_N / weight_N.sum())]
    nearest_N = _distances(x_ND, means_KD)[:, 0]
    while len(means_KD) < size:
        chance_N = weight_N * nearest_N
        if not chance_N.sum() > 0:
            break
        chosen = rng.choice(len(x_ND), p=chance_N / chance_N.sum())
        means_KD = np.concatenate([means_KD, x_ND[[chosen]]])
        nearest_N = np.minimum(nearest_N, _distances(x_ND, x_ND[[chosen]])[:, 0])
    code_N = np.full(len(x_ND), -1)
    for _ in range(ROUNDS):
        before_N, code_N = code_N, _distances(x_ND, means_KD).argmin(1)
        if np.array_equal(before_N, code_N):
            break
        total_KD, total_K = np.zeros_like(means_KD), np.zeros(len(means_KD), np.float32)
        np.add.at(total_KD, code_N, x_ND * weight_N[:, None])
        np.add.at(total_K, code_N, weight_N)
        used_K = total_K > 0
        means_KD[used_K] = total_KD[used_K] / total_K[used_K, None]
    return means_KD


def _distances(x_ND: np.ndarray, means_KD: np.ndarray) -> np.ndarray:
    """Squared distances, rounding aside at least 0. [N, K]"""
    both_NK = x_ND @ means_KD.T
    return np.maximum((x_ND**2).sum(1)[:, None] - 2 * both_NK + (means_KD**2).sum(1), 0)
