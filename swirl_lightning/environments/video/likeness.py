"""Which frames are worth keeping: none that is nearly black, none that is nearly the one before."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from swirl_lightning.pictures import pillow

DARK = 16
"""Brightness, of 0 to 255, below which a pixel is nearly black: what studio video calls black."""


class Rule(NamedTuple):
    """What is dropped. Both are measured on the frame in grey, brought to ``size`` x ``size`` pixels.

    Args:
        size: of the frames that are compared, in pixels.
        duplicate: the structural similarity, at most 1, from which on a frame is dropped as the one before it.
        black: the share of nearly black pixels from which on a frame is dropped.
    """

    size: int
    duplicate: float
    black: float


def grey(pixels_HW3: np.ndarray, size: int) -> np.ndarray:
    """A frame in grey, at a size. [size, size], uint8"""
    image = pillow().fromarray(np.ascontiguousarray(pixels_HW3)).convert("L")
    return np.asarray(image.resize((size, size), pillow().Resampling.BOX))


def is_black(grey_SS: np.ndarray, rule: Rule) -> bool:
    """Whether a frame is nearly black."""
    return float((grey_SS < DARK).mean()) >= rule.black


def is_duplicate(before_SS: np.ndarray, after_SS: np.ndarray, rule: Rule) -> bool:
    """Whether a frame is nearly the one before, by their structural similarity (Wang et al., 2004; torchmetrics')."""
    torch, similarity = _similarity()
    a, b = (torch.from_numpy(x.astype(np.float32))[None, None] for x in (before_SS, after_SS))
    return float(similarity(a, b, data_range=255.0)) >= rule.duplicate


def within(pixels_HW3: np.ndarray, longest_side: int) -> np.ndarray:
    """A frame scaled down so far that neither side is longer; a smaller one stays as it is. [H, W, 3], uint8"""
    if max(pixels_HW3.shape[:2]) <= longest_side:
        return np.ascontiguousarray(pixels_HW3)
    image = pillow().fromarray(np.ascontiguousarray(pixels_HW3))
    image.thumbnail((longest_side, longest_side), pillow().Resampling.LANCZOS)
    return np.asarray(image)


@cache
def _similarity() -> tuple[Any, Any]:
    """Imported by the processes that compare, and by no command's start."""
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    torch.set_num_threads(1)  # there is a process for each core
    return torch, structural_similarity_index_measure
