"""Small videos, made by PyAV, whole and broken."""

from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest

av = pytest.importorskip("av")
pytest.importorskip("PIL")

RATE = 10


def scene(number, height=48, width=64):
    """A picture of 8 x 8 blocks, another one for each number."""
    blocks = np.random.default_rng(number).integers(60, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return blocks.repeat(8, 0).repeat(8, 1)


BLACK = np.zeros((48, 64, 3), np.uint8)


def make_video(path, pictures, codec="mpeg4", options=None, moments=None, audio_alone=False):
    """Write pictures as a video, RATE of them a second, or at the moments given, in tenths of a second."""
    with av.open(str(path), "w", options=options or {}) as container:
        if audio_alone:
            stream = container.add_stream("aac", rate=8000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 8000
            container.mux([*stream.encode(frame), *stream.encode(None)])
            return path
        stream = container.add_stream(codec, rate=RATE)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.bit_rate, stream.gop_size = "yuv420p", 4_000_000, 4
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = moments[number] if moments else number
            frame.time_base = Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


class Broken(NamedTuple):
    """A file that cannot be read to its end: how many frames it still gives, and what is said of it."""

    name: str
    frames: tuple[int, int]
    said: str


BROKEN = [
    Broken("cut.mp4", (0, 0), "Invalid data"),
    Broken("cut.mkv", (1, 19), "gave "),
    Broken("empty.mp4", (0, 0), "Invalid data"),
    Broken("damaged.avi", (1, 20), "damaged.avi"),
    Broken("sound.mp4", (0, 0), "found no video"),
    Broken("words.mp4", (0, 0), "Invalid data"),
]


def make_broken(folder):
    """The six files of BROKEN."""
    pictures = [scene(n) for n in range(20)]
    for name in ("cut.mp4", "cut.mkv"):
        data = make_video(folder / name, pictures).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
    (folder / "empty.mp4").write_bytes(b"")
    data = bytearray(make_video(folder / "damaged.avi", pictures).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 6000] = np.random.default_rng(0).bytes(6000)
    (folder / "damaged.avi").write_bytes(data)
    make_video(folder / "sound.mp4", [], audio_alone=True)
    (folder / "words.mp4").write_text("I am a letter.\n" * 100)
