"""How alike two pictures are, by CLIP or by their pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from swirl_lightning.metrics.clip import similarity
from swirl_lightning.models.clip import load_clip
from swirl_lightning.pictures import beside, pixels


def likeness(clip: str | None, device: torch.device) -> Callable[[str, str], float]:
    """Of a predicted picture and a true one: the cosine of CLIP, or without one the negative mean squared error."""
    if clip is None:
        return _by_pixels
    load_clip(clip)
    return partial(similarity, clip, device=device)


def _by_pixels(said: str, true: str) -> float:
    shown = pixels(said)
    return -float(((shown.astype(np.float64) - beside(true, shown)) ** 2).mean())
