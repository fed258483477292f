"""Single frames of a video file, by their times."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from swirl_lightning.environments.video.frames import EARLY, load_av
from swirl_lightning.types import InputError

SLACK = 1.0
"""Seconds after the last frame at which it still is the frame of a moment: annotations count whole seconds."""


def frame_at(path: Path, seconds: float) -> np.ndarray:
    """The frame of a moment, upright, or where it has none of its own the next one. [H, W, 3], uint8, RGB

    Args:
        path: the file. Whatever it says, no address is opened.
        seconds: since the video's begin.

    Raises:
        InputError: the file cannot be read there, or ends more than a second before, or PyAV is not installed.
    """
    av = load_av()
    last = None
    try:
        with av.open(
            str(path.absolute()), options={"protocol_whitelist": "file"}, metadata_errors="replace"
        ) as container:
            if not container.streams.video:
                raise InputError(f"{path}: found no video in it, expected one")
            stream = container.streams.video[0]
            moment = seconds + float((stream.start_time or 0) * stream.time_base)
            container.seek(int(moment / stream.time_base), stream=stream, backward=True)
            for frame in container.decode(stream):
                last = frame
                if frame.time is None or frame.time + EARLY >= moment:
                    break
            if last is not None and (last.time is None or last.time + SLACK >= moment):
                return np.ascontiguousarray(np.rot90(last.to_ndarray(format="rgb24"), round(last.rotation / 90)))
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        said = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: found no readable video at {seconds:g} s ({said}); fetch the file again") from error
    raise InputError(f"{path}: found no frame at {seconds:g} s, which is after its end; fetch the file again")
