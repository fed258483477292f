"""How close a predicted picture is to the true one. One that could not be decoded is None and scores lowest.

Shape letters: R rows and C columns of cells, S pixels of a cell's side.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from swirl_lightning.codecs.tiles import cut
from swirl_lightning.metrics.base import PredictionMetric
from swirl_lightning.pictures import beside, cell_of, pixels
from swirl_lightning.types import Prediction, Transition

MOST_DB = 60.0
"""What a picture without any error counts in the mean PSNR, whose own would be infinite."""

WINDOW = 11
"""Pixels of the side of the window that structural similarity is taken in."""

Measure = Literal["exact_cells", "changed_cells", "psnr", "ssim"]


class PictureScore(PredictionMetric):
    """The mean of one measure over the pictures.

    ``exact_cells``: share of cells that are right to the pixel. ``changed_cells``: F1 between the cells that the
    prediction changes, with what it makes of them, and those that truly change; copying the state earns nothing.
    ``psnr``: in dB, at most 60 for each picture. ``ssim``: structural similarity (Wang et al., 2004, with a Gaussian
    window of 11 pixels), at the size that the pictures have. True pictures of another size than the predicted one are
    first brought to it, as the model's own pictures are (``pictures.fitted``); padding is then part of both.

    Args:
        measure: which.
        cell: S; None takes that of the codes that the prediction is written in, and leaves a picture without codes out.
    """

    def __init__(self, measure: Measure, cell: int | None = None) -> None:
        super().__init__()
        self.measure: Measure = measure
        self.cell = cell

    def score(self, transition: Transition, prediction: Prediction) -> float | None:
        """In [0, 1], or in dB; None where the picture is too small for the window."""
        true = pixels(transition.next_state)
        if self.measure == "ssim" and min(true.shape[:2]) < WINDOW:
            return None
        if prediction.next_state is None:
            return 0.0
        said = pixels(prediction.next_state)
        true = beside(transition.next_state, said)
        if self.measure in ("exact_cells", "changed_cells"):
            if (cell := self.cell or cell_of(prediction.next_state)) is None:
                return None
            if self.measure == "exact_cells":
                return 1 - float(_differ(said, true, cell).mean())
            return _changed(beside(transition.state, said), said, true, cell)
        a, b = (torch.tensor(x).permute(2, 0, 1)[None].float() for x in (said, true))
        if self.measure == "psnr":
            return min(float(peak_signal_noise_ratio(a, b, data_range=255.0)), MOST_DB)
        similarity = structural_similarity_index_measure(a, b, data_range=255.0)
        assert isinstance(similarity, torch.Tensor)
        return float(similarity)


def picture_metrics(cell: int | None = None) -> dict[str, PredictionMetric]:
    """All of them, by the names of the FWM's metrics; without a cell's side, cells are those of the model's codes."""
    measures: tuple[Measure, ...] = ("exact_cells", "changed_cells", "psnr", "ssim")
    return {f"fwm_{measure}": PictureScore(measure, cell) for measure in measures}


def _differ(a: np.ndarray, b: np.ndarray, cell: int) -> np.ndarray:
    """Which cells differ. [R, C]"""
    return (cut(a, cell) != cut(b, cell)).any((2, 3, 4))


def _changed(before: np.ndarray, said: np.ndarray, true: np.ndarray, cell: int) -> float:
    in_said, in_true = _differ(before, said, cell), _differ(before, true, cell)
    right = in_said & in_true & ~_differ(said, true, cell)
    size = int(in_said.sum() + in_true.sum())
    return 2 * int(right.sum()) / size if size else 1.0
