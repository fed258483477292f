"""What a person is shown of states that are pictures; of texts it is nothing."""

from __future__ import annotations

import base64
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger

from swirl_lightning.codecs import Codec
from swirl_lightning.pictures import png, strip
from swirl_lightning.types import Prediction, Transition

IN_TENSORBOARD = 4
"""Transitions whose pictures go there."""


def views_of(codec: Codec, transition: Transition, prediction: Prediction) -> dict[str, np.ndarray]:
    """The state, the true next state and the predicted one, in which cells that are wrong are framed."""
    said, true = prediction.next_state, transition.next_state
    views = {
        "state": codec.view(transition.state),
        "next_state": codec.view(true),
        "predicted_next_state": None if said is None else codec.view(said, true),
    }
    return {name: view for name, view in views.items() if view is not None}


def as_row(views: dict[str, np.ndarray]) -> dict[str, Any]:
    """What a row of samples.jsonl has of them: data URIs."""
    uris = {k: f"data:image/png;base64,{base64.b64encode(png(view)).decode()}" for k, view in views.items()}
    return {"pictures": uris} if uris else {}


def log_views(trainer: L.Trainer, transition: Transition, views: dict[str, np.ndarray], stages: int) -> None:
    """Show them side by side in TensorBoard, where a slider goes through the stages."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)] if views else []
    for logger in loggers:
        tag = f"samples/episode {transition.episode} step {transition.step}: {transition.action}"
        logger.experiment.add_image(tag, strip(list(views.values())), stages, dataformats="HWC")
