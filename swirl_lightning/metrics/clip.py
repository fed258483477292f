"""Predicted pictures in CLIP's space: near the target, in its direction, as a text says. Shape letter: D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from swirl_lightning.metrics.base import PredictionMetric
from swirl_lightning.models.clip import load_clip
from swirl_lightning.pictures import fitted, pixels
from swirl_lightning.types import Prediction, Transition

Captions = Mapping[tuple[str, int], tuple[str | None, str | None]]
"""What the pictures before and after a transition show, by its episode and step."""
Measure = Literal["target", "source", "nearer", "direction", "text", "text_direction"]
MEASURES: tuple[Measure, ...] = ("target", "source", "nearer", "direction", "text")
SHORT = 1e-6
"""Length of a difference of two embeddings below which it has no direction."""


class ClipScore(PredictionMetric):
    """The mean of one measure over the predictions, by the embeddings of CLIP, each of length 1.

    ``target`` and ``source``: cosine of the predicted picture with the true next one and with the one before.
    ``nearer``: the share that is nearer to the target than to the source (SWIRL's "success" on AURORA-Bench).
    ``direction``: cosine of (predicted - source) and (target - source). ``text``: cosine of the predicted picture and
    the caption of the target; of the instruction, where there is no caption. ``text_direction``: cosine of
    (predicted - source) and (caption of the target - caption of the source), over the transitions that have both. The
    last three, and ``source``, are ByteMorph's.

    A difference without a direction counts as 0 where the prediction is the source, and leaves the transition out where
    the target is. True pictures are first brought to the size of the predicted one. A next state that is None scores 0.

    Args:
        measure: which.
        model: a CLIP model, by its folder or its name on the hub.
        captions: of the transitions.

    Raises:
        InputError: the model cannot be loaded.
    """

    def __init__(self, measure: Measure, model: str, captions: Captions) -> None:
        super().__init__(measure)
        load_clip(model)  # now, and not after the first phase of a run
        self.measure: Measure = measure
        self.model = model
        self.captions = captions

    def update(self, transitions: Sequence[Transition], predictions: Sequence[Prediction]) -> None:
        """Adds N transitions with what was said of them."""
        with torch.autocast(torch.device(self.device).type, enabled=False):  # whatever the precision of the run
            super().update(transitions, predictions)

    def score(self, transition: Transition, prediction: Prediction) -> float | None:
        """In [-1, 1], or in [0, 1] of ``nearer``."""
        before, after = self.captions.get((transition.episode, transition.step), (None, None))
        if self.measure == "text_direction" and not (before and after):
            return None
        if prediction.next_state is None:
            return 0.0
        shown = pixels(prediction.next_state)
        size = (shown.shape[1], shown.shape[0])
        said_D, source_D, target_D = (
            self._picture(state, size) for state in (prediction.next_state, transition.state, transition.next_state)
        )
        if self.measure == "nearer":
            return float(said_D @ target_D > said_D @ source_D)
        if self.measure == "direction":
            return direction(said_D, source_D, target_D - source_D)
        if self.measure == "text_direction":
            return direction(said_D, source_D, self._text(after or "") - self._text(before or ""))
        other_D = {"target": target_D, "source": source_D}.get(self.measure)
        if other_D is None:
            other_D = self._text(after or transition.action or "")
        return float(said_D @ other_D)

    def _picture(self, state: str, size: tuple[int, int]) -> Tensor:
        return _picture(self.model, state, size, str(self.device))

    def _text(self, text: str) -> Tensor:
        return _text(self.model, text, str(self.device))


def direction(said_D: Tensor, source_D: Tensor, wanted_D: Tensor) -> float | None:
    """Cosine of (said - source) and what is wanted; 0 where nothing was changed, None where nothing is wanted."""
    made_D = said_D - source_D
    if wanted_D.norm() < SHORT:
        return None
    if made_D.norm() < SHORT:
        return 0.0
    return float(torch.nn.functional.cosine_similarity(made_D, wanted_D, dim=0))


def similarity(model: str, a: str, b: str, device: torch.device) -> float:
    """Cosine of two pictures, the second brought to the size of the first."""
    shown = pixels(a)
    size = (shown.shape[1], shown.shape[0])
    return float(_picture(model, a, size, str(device)) @ _picture(model, b, size, str(device)))


@lru_cache(maxsize=1024)
def _picture(model: str, state: str, size: tuple[int, int], device: str) -> Tensor:
    """The embedding of a picture at a size, once for all measures. [D]"""
    return load_clip(model).pictures([fitted(pixels(state), size)], torch.device(device))[0].cpu()


@lru_cache(maxsize=1024)
def _text(model: str, text: str, device: str) -> Tensor:
    return load_clip(model).texts([text], torch.device(device))[0].cpu()


def clip_metrics(model: str, captions: Captions) -> dict[str, PredictionMetric]:
    """All of them, by the names of the FWM's metrics; ``text_direction`` where some transition has both captions."""
    both = any(before and after for before, after in captions.values())
    measures: tuple[Measure, ...] = (*MEASURES, "text_direction") if both else MEASURES
    return {f"fwm_clip_{measure}": ClipScore(measure, model, captions) for measure in measures}
