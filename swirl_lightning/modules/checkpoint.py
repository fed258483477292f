"""Reading a checkpoint file with every way it can be wrong."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from swirl_lightning.codecs import Layout
from swirl_lightning.types import InputError

VERSION = "pytorch-lightning_version"
WEIGHTS = {"swirl": dict, "state_dict": dict}
"""What every checkpoint holds."""

WHOLE = WEIGHTS | {
    VERSION: str,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
}
"""What Lightning adds to it, without which a run cannot go on."""


def read_checkpoint(path: str | Path, key: str) -> dict[str, Any]:
    """The content of a checkpoint of this project; its tensors stay on disk until they are used.

    Args:
        path: the file.
        key: the option that named it, for the message.

    Raises:
        InputError: if the file is missing, damaged, or from elsewhere.
    """
    path = Path(path)
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{key}: {path} {found}; expected a .ckpt file of a run")
    if not is_whole(path):
        others = [other for other in path.parent.glob("*.ckpt") if other != path and is_whole(other)]
        newest = max(others, key=lambda other: other.stat().st_mtime, default=None)
        cure = "no whole one lies beside it: restore it from a copy, or train again"
        raise InputError(
            f"{key}: {path} is not a readable checkpoint: it is cut off, or its bytes are not those that were written "
            f"(their checksum differs); {cure if newest is None else f'the newest whole one beside it is {newest}'}"
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # of another program, it can fail anywhere
        raise InputError(f"{key}: {path} is not a readable checkpoint ({type(error).__name__})") from error
    if not (isinstance(checkpoint, dict) and "swirl" in checkpoint):
        raise InputError(f"{key}: {path} was not written by swirl-lightning (it has no 'swirl' entry)")
    for name, kind in (WHOLE if key == "--ckpt_path" else WEIGHTS).items():
        if not isinstance(checkpoint.get(name), kind):
            found = f"a {type(checkpoint[name]).__name__}" if name in checkpoint else "nothing"
            raise InputError(
                f"{key}: {path}: {name}: found {found}, expected a {kind.__name__}: someone has changed the file; take "
                "another one of the run"
            )
    if key == "--ckpt_path" and not re.match(r"\d+\.\d+", version := checkpoint[VERSION]):
        raise InputError(
            f"{key}: {path}: {VERSION}: found {version!r}, expected a version; take another one of the run"
        )
    return checkpoint


def codec_in(entry: Mapping[str, Any]) -> str | None:
    """What the 'swirl' entry of a checkpoint holds of its codec; 0.1 knew texts alone and called it the tokenizer."""
    return entry["codec"] if "codec" in entry else entry["tokenizer"]


def is_whole(path: Path) -> bool:
    """Whether each part of a checkpoint has the checksum that was written with it: the file is a zip archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # a damaged file can fail anywhere
        return False


def check_layouts(own: Mapping[str, Layout], saved: Mapping[str, Layout]) -> None:
    """Refuse other words around states and actions than those that the weights were trained with.

    Raises:
        InputError: with what to set.
    """
    for name, layout in own.items():
        if (trained := saved.get(name, saved[""])) != layout:
            raise InputError(
                f"model.layout: found {layout.markers} for {name or 'all environments'}, expected what the "
                f"checkpoint was trained with: {trained.markers}; set model.layout to it"
            )
