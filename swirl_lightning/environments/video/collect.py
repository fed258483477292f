"""Collects a log of pictures from a folder of videos: frames before and after, without what was done in between."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from swirl_lightning.environments.collection import RECORD, describe_run
from swirl_lightning.environments.video.clip import IMAGES, PARTS, Facts, Job
from swirl_lightning.environments.video.frames import SUFFIXES, load_av
from swirl_lightning.environments.video.likeness import Rule
from swirl_lightning.environments.video.pool import read_clips
from swirl_lightning.pictures import pillow
from swirl_lightning.types import InputError, Stopped, check_number, writing

logger = logging.getLogger(__name__)

LOG, BEGUN = "log.jsonl", "arguments.json"


def collect_video(
    folder: Path,
    /,
    out: Path,
    every: float = 6.0,
    longest_side: int = 512,
    compare_size: int = 128,
    duplicate: float = 0.95,
    black: float = 0.1,
    processes: int | None = None,
    overwrite: bool = False,
) -> None:
    """Watch the videos of a folder and write frames some time apart as a log of pictures before and after.

    Each video is an episode. Frames that are nearly black are dropped, and no pair spans one; so are frames that are
    nearly the last one that was kept. The defaults are those of SWIRL (arXiv 2602.06130): 6 seconds, a structural
    similarity of 0.95, a tenth of nearly black pixels. What is written, in ``log.jsonl``, has no actions.

    Several videos are read at once. A run that was stopped or killed goes on where it was when it is started again with
    the same arguments, and ends with the same log. A video that cannot be read to its end costs a line of the output;
    what came before is kept.

    Args:
        folder: the folder with the videos; folders in it are searched, too.
        out: the folder to write: log.jsonl, the pictures in its folder images, and collection.json, which says what
            became of each video; it is made where it does not exist.
        every: seconds between frames.
        longest_side: pixels that no side of a picture exceeds; larger frames are scaled down, smaller ones kept.
        compare_size: width and height, in pixels, of the grey pictures that are compared with black and each other.
        duplicate: structural similarity, above 0 and at most 1, from which on a frame is dropped as a duplicate.
        black: share of the pixels with a brightness below 16 of 255 from which on a frame is dropped as black.
        processes: videos that are read at once; null takes one for each core.
        overwrite: remove a finished collection in ``out`` first; the pictures of both would mix.

    Raises:
        InputError: a package is missing, an argument is out of range, the folder has no videos, they give no pair, or
            ``out`` holds something else.
    """
    check_number("--every", every, above=0)
    check_number("--longest_side", longest_side, least=16)
    check_number("--compare_size", compare_size, least=16)
    check_number("--duplicate", duplicate, above=0, most=1)
    check_number("--black", black, above=0, most=1)
    check_number("--processes", 1 if processes is None else processes, least=1)
    load_av(), pillow()
    arguments = {
        "every": every, "longest_side": longest_side, "compare_size": compare_size, "duplicate": duplicate,
        "black": black,
    }  # fmt: skip
    rule = Rule(compare_size, duplicate, black)
    jobs = [Job(name, path, out, every, longest_side, rule) for name, path in find_videos(folder).items()]
    if overwrite and (out / RECORD).is_file():
        with writing(out):
            shutil.rmtree(out / IMAGES, ignore_errors=True)
            (out / LOG).unlink(missing_ok=True)
            (out / RECORD).unlink()
    if _begin(out, {"folder": folder.name, **arguments}):
        return
    found = {job.name: facts for job in jobs if (facts := job.done())}
    if found:
        logger.info("%s: %d of %d videos were read before", out, len(found), len(jobs))
    todo = [job for job in jobs if job.name not in found]
    try:
        for job, facts in read_clips(todo, processes or len(os.sched_getaffinity(0))):
            found[job.name] = facts
            _tell(job, facts["about"])
    except (KeyboardInterrupt, Stopped):
        logger.warning("%s: %d of %d videos are read; the same command goes on", out, len(found), len(jobs))
        raise
    _finish(out, {job.name: found[job.name] for job in jobs}, folder.name, arguments)


def find_videos(folder: Path) -> dict[str, Path]:
    """The videos of a folder and of those in it, by their paths from it on, in alphabetical order.

    Raises:
        InputError: there is none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected one with videos; check the path")
    paths = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    videos = {_name(path.relative_to(folder)): path for path in paths if path.suffix.lower() in SUFFIXES}
    if not videos:
        raise InputError(f"{folder}: found no video, expected files whose names end in {', '.join(SUFFIXES)}")
    return dict(sorted(videos.items()))


def _name(path: Path) -> str:
    return path.as_posix().encode(errors="backslashreplace").decode()  # names need not be UTF-8, a log is


def _begin(out: Path, arguments: Mapping[str, Any]) -> bool:
    """Make the folder, or find that one with these arguments was begun. Returns whether it was finished."""
    begun, record = out / PARTS / BEGUN, out / RECORD
    before: dict[str, Any] | None = None
    for path in (record, begun):
        if path.is_file():
            try:
                before = json.loads(path.read_text(encoding="utf-8"))
                before = before["arguments"] if path == record else before
                break
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path}: found no readable record ({error}); choose another --out") from error
    if before is None:
        if out.exists() and any(out.iterdir()):
            raise InputError(f"{out}: found a folder with other files, expected a new or an empty one; choose another")
        with writing(out):
            (out / IMAGES).mkdir(parents=True, exist_ok=True)
            (out / PARTS).mkdir(exist_ok=True)
            part = begun.with_suffix(".part")
            part.write_text(json.dumps(arguments), encoding="utf-8")
            os.replace(part, begun)
        return False
    if differ := [name for name, value in arguments.items() if before.get(name) != value]:
        told = ", ".join(f"{name} {before.get(name)!r}" for name in differ)
        raise InputError(
            f"{out}: found a collection with {told}, expected the same as now; give these, or choose another --out"
        )
    if record.is_file():
        shutil.rmtree(out / PARTS, ignore_errors=True)
        logger.info("%s: was collected before; for other videos choose another --out", out)
        return True
    return False


def _tell(job: Job, about: Mapping[str, Any]) -> None:
    """A line of the log for a video."""
    line = f"{job.name}: {about['pairs']} pairs of {about['kept']} frames, {about['duplicates']} near-duplicates and "
    line += f"{about['black']} near-black frames dropped"
    if about["lost"]:
        line += f"; gave {about['decoded']} of {about['declared']} declared frames"
    if about["problem"]:
        line += f"; not read to its end: {about['problem']}"
    logger.log(logging.WARNING if about["lost"] or about["problem"] else logging.INFO, line)


def _finish(out: Path, found: Mapping[str, Facts], folder: str, arguments: Mapping[str, Any]) -> None:
    """Write log and record, the record last, and clear away what a continued run would need."""
    pairs = sum(facts["about"]["pairs"] for facts in found.values())
    if not pairs:
        for made in (PARTS, IMAGES):
            shutil.rmtree(out / made)
        told = "; ".join(f"{name}: {facts['about']['problem'] or 'too few frames'}" for name, facts in found.items())
        raise InputError(
            f"{out}: the {len(found)} videos give no pair of frames ({told:.300}), expected at least one; take "
            "--every shorter, or other videos"
        )
    with writing(out):
        digest = _write_log(out / LOG, (facts["rows"] for facts in found.values()))
        versions = ("av", "numpy", "pillow", "torchmetrics")
        record = describe_run("video", out, arguments, versions, [folder])
        record["arguments"] = {"folder": folder, **record["arguments"]}
        record["videos"] = {name: facts["about"] for name, facts in found.items()}
        record["files"] = {LOG: {"transitions": pairs, "sha256": digest}}
        part = out / f".{RECORD}.part"
        part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        os.replace(part, out / RECORD)
        shutil.rmtree(out / PARTS)
    whole = sum(not (facts["about"]["problem"] or facts["about"]["lost"]) for facts in found.values())
    logger.info("%s: %d pairs of %d videos, of which %d were whole", out / LOG, pairs, len(found), whole)


def _write_log(path: Path, parts: Iterable[list[dict[str, Any]]]) -> str:
    """Write the rows, whole or not at all, and return the sha256 of the file."""
    digest, part = hashlib.sha256(), path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        for rows in parts:
            for row in rows:
                line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
                digest.update(line)
                file.write(line)
    os.replace(part, path)
    return digest.hexdigest()
