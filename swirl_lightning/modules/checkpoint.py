"""Reading a checkpoint file with every way it can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from swirl_lightning.types import InputError


def read_checkpoint(path: str | Path, key: str) -> dict[str, Any]:
    """The content of a checkpoint of this project; its tensors stay on disk until they are used.

    Args:
        path: the file.
        key: the option that named it, for the message.

    Raises:
        InputError: if the file is missing, damaged, or from elsewhere.
    """
    if not Path(path).is_file():
        raise InputError(f"{key}: {path} does not exist; expected a .ckpt file of a run")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged file can fail anywhere
        raise InputError(f"{key}: {path} is not a readable checkpoint ({type(error).__name__})") from error
    if not (isinstance(checkpoint, dict) and "swirl" in checkpoint):
        raise InputError(f"{key}: {path} was not written by swirl-lightning (it has no 'swirl' entry)")
    return checkpoint
