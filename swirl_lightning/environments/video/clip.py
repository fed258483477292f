"""One video as rows of a log, beside the pictures that they name."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from swirl_lightning.environments.video.frames import Reading, sample_frames
from swirl_lightning.environments.video.likeness import Rule, grey, is_black, is_duplicate, within
from swirl_lightning.pictures import PICTURE, name_of, write_image
from swirl_lightning.types import writing

IMAGES, PARTS = "images", ".parts"

Facts = dict[str, Any]


class Job(NamedTuple):
    """A video to read.

    Args:
        name: of the video, from the folder of all videos on; its episode in the log.
        path: the file.
        out: the folder that is written.
        every: seconds between frames.
        longest_side: of the pictures, in pixels.
        rule: which frames are dropped.
    """

    name: str
    path: Path
    out: Path
    every: float
    longest_side: int
    rule: Rule

    @property
    def part(self) -> Path:
        """The file of what was read of the video, which is there once all of it was."""
        return self.out / PARTS / f"{blake2b(self.name.encode(), digest_size=16).hexdigest()}.json"

    @property
    def begun(self) -> Path:
        """The file that is there while the video is read."""
        return self.part.with_suffix(".begun")

    def done(self) -> Facts | None:
        """What an earlier run read of the video; None where it has not, or where the file is another one by now."""
        if not self.part.is_file():
            return None
        facts = json.loads(self.part.read_text(encoding="utf-8"))
        return facts if facts["file"] == _stamp(self.path) else None


def read_clip(job: Job) -> Facts:
    """Read a video, write its pictures, and keep in its part what the log and the record will say of it.

    Raises:
        OSError: something could not be written.
    """
    job.begun.touch()
    stamp, reading = _stamp(job.path), Reading()
    counts = {"sampled": 0, "black": 0, "duplicates": 0, "kept": 0}
    rows: list[dict[str, Any]] = []
    before: tuple[np.ndarray, np.ndarray] | None = None
    for pixels_HW3 in sample_frames(job.path, job.every, reading):
        counts["sampled"] += 1
        picture = within(pixels_HW3, job.longest_side)
        seen = grey(picture, job.rule.size)
        if is_black(seen, job.rule):
            counts["black"] += 1
            before = None  # what comes after is another scene
            continue
        if before and is_duplicate(before[1], seen, job.rule):
            counts["duplicates"] += 1
            continue
        if before:
            image, next_image = (write_picture(job.out, its) for its in (before[0], picture))
            rows.append({"episode": job.name, "step": counts["kept"] - 1, "image": image, "next_image": next_image})
        counts["kept"] += 1
        before = picture, seen
    about = asdict(reading) | {"lost": reading.lost, "seconds": round(reading.seconds, 3)}
    facts = {"file": stamp, "about": about | counts | {"pairs": len(rows)}, "rows": rows}
    _write_whole(job.part, json.dumps(facts).encode())
    job.begun.unlink(missing_ok=True)
    return facts


def given_up(job: Job, problem: str) -> Facts:
    """Keep of a video that nothing could be read of it."""
    about = asdict(Reading(problem=problem)) | {"lost": 0, "sampled": 0, "black": 0, "duplicates": 0, "kept": 0}
    facts = {"file": _stamp(job.path), "about": about | {"pairs": 0}, "rows": []}
    _write_whole(job.part, json.dumps(facts).encode())
    return facts


def write_picture(out: Path, pixels_HW3: np.ndarray) -> str:
    """Write a picture as a PNG file that its content names, and return its path from the log's folder on."""
    path = out / IMAGES / f"{name_of(pixels_HW3).removeprefix(PICTURE)}.png"
    if not path.exists():
        part = out / PARTS / f"{os.getpid()}.{path.name}"  # with them goes what a killed run leaves
        with writing(path):
            write_image(part, pixels_HW3)
            os.replace(part, path)
    return f"{IMAGES}/{path.name}"


def _stamp(path: Path) -> list[int]:
    """Tells one content of a file from another, as the system does: its bytes, and nanoseconds of its last change."""
    try:
        found = path.stat()
    except OSError:
        return []  # gone, or a link to nothing: reading it says so
    return [found.st_size, found.st_mtime_ns]


def _write_whole(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with writing(path):
        part.write_bytes(data)
        os.replace(part, path)
