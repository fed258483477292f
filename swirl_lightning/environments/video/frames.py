"""The frames of a video file, some time apart, as far as the file can be read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swirl_lightning.types import InputError

SUFFIXES = (
    ".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv",
)  # fmt: skip
SHORT = 0.9
"""A file that declares its length alone and gives less than this share of it has lost frames."""
EARLY = 1e-3
"""Seconds that a frame may come before its time: containers round."""


@dataclass(slots=True)
class Reading:
    """What a video file turned out to be.

    Args:
        declared: frames that it says it has; by its length and its rate where it gives no number, None where neither.
        counted: whether the file gives the number itself.
        decoded: frames that it gave.
        seconds: from its first frame to the end of its last.
        problem: what ended the reading before the end of the file; None where nothing did.
    """

    declared: int | None = None
    counted: bool = False
    decoded: int = 0
    seconds: float = 0.0
    problem: str | None = None

    @property
    def lost(self) -> int:
        """Frames that are missing of those declared."""
        if self.declared is None or self.decoded >= self.declared * (1.0 if self.counted else SHORT):
            return 0
        return self.declared - self.decoded


def sample_frames(path: Path, every: float, reading: Reading) -> Iterator[np.ndarray]:
    """Frames at least ``every`` seconds apart, the first one first, upright. [H, W, 3], uint8, RGB

    A moment without a frame of its own has the next frame that comes. Nothing is raised of a file that cannot be read:
    ``reading`` says what ended it, and what came before has been given.

    Args:
        path: the file. Whatever it says, no address is opened.
        every: seconds between moments.
        reading: filled in; whole when the last frame has been taken.
    """
    av = load_av()
    first = last = due = None
    try:
        with av.open(
            str(path.absolute()), options={"protocol_whitelist": "file"}, metadata_errors="replace"
        ) as container:
            if not container.streams.video:
                reading.problem = "found no video in it"
                return
            stream = container.streams.video[0]
            rate = float(stream.average_rate or stream.guessed_rate or 25)
            reading.declared, reading.counted = _declared(container, stream, rate)
            for frame in container.decode(stream):
                time = frame.time if frame.time is not None else reading.decoded / rate
                reading.decoded += 1
                if first is None or due is None or last is None or time < last - every:  # a clock that starts anew
                    first = due = time
                last = time
                reading.seconds = max(reading.seconds, time - first + 1 / rate)
                if time + EARLY >= due:
                    due = first + every * (math.floor((time + EARLY - first) / every) + 1)
                    yield np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
    except (av.FFmpegError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        reading.problem = f"{said}, after {reading.decoded} frames"
    if not reading.decoded and reading.problem is None:
        reading.problem = "found no frame in it"


def load_av() -> Any:
    """PyAV.

    Raises:
        InputError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise InputError(
            "swirl collect video: the package av is not installed; pip install 'swirl-lightning[video]'"
        ) from error
    return av


def _declared(container: Any, stream: Any, rate: float) -> tuple[int | None, bool]:
    if stream.frames:
        return stream.frames, True
    if stream.duration:
        return round(float(stream.duration * stream.time_base) * rate), False
    if container.duration and len(container.streams) == 1:  # sound may go on longer
        return round(container.duration / 1e6 * rate), False
    return None, False
