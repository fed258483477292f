"""What a person is shown of states that are pictures; of texts it is nothing."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger

from swirl_lightning.codecs import Codec
from swirl_lightning.pictures import PICTURE, beside, is_picture, name_of, pixels, png, strip, write_image
from swirl_lightning.types import Prediction, Transition

IN_TENSORBOARD = 4
"""Transitions whose pictures go there."""
FOLDER = "pictures"
"""Where pictures lie beside the rows that name them."""


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


def pictures_of(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A row in which files stand in place of states that are pictures, as in a log; they are written beside it.

    The predicted picture has the size that the model writes, and the true ones are brought to it.
    """
    fields = {name: name.replace("state", "image") for name in ("state", "next_state", "predicted_next_state")}
    if not is_picture(row["state"]):
        return row
    size = pixels(row["predicted_next_state"] or row["state"])
    files = {}
    for name, image in fields.items():
        files[image] = None if row[name] is None else _written(beside(row[name], size), folder)
    return {fields.get(name, name): files.get(fields.get(name, name), value) for name, value in row.items()}


def _written(pixels_HW3: np.ndarray, folder: Path) -> str:
    """Write a picture, which may be there, and return its path from the folder on."""
    path = folder / FOLDER / f"{name_of(pixels_HW3).removeprefix(PICTURE)}.png"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{os.getpid()}.{path.name}")  # another process may write the same one
        write_image(part, pixels_HW3)
        os.replace(part, path)
    return f"{FOLDER}/{path.name}"


def log_views(trainer: L.Trainer, transition: Transition, views: dict[str, np.ndarray], stages: int) -> None:
    """Show them side by side in TensorBoard, where a slider goes through the stages."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)] if views else []
    for logger in loggers:
        tag = f"samples/episode {transition.episode} step {transition.step}: {transition.action}"
        logger.experiment.add_image(tag, strip(list(views.values())), stages, dataformats="HWC")
