"""The metadata of WorldPrediction, as SWIRL's release reads it. All of it is unverified: no one here had the file.

A JSON object ``{dataset: {sample: record}}``. A record has ``original_segments``, the actions as they were done, each
with ``video``, ``segment_start_time``, ``segment_end_time`` (seconds) and ``action_label``; ``candidates``, plans as
lists of names; ``action_segments``, what each of these names stands for; and ``ground_truth``, the number of the right
plan.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from swirl_lightning.environments.benchmark import check_row, read_json
from swirl_lightning.types import InputError


class Segment(NamedTuple):
    """An action in a video.

    Args:
        video: its file, as the metadata names it.
        start: in seconds.
        end: in seconds.
        label: the action in words.
    """

    video: str
    start: float
    end: float
    label: str


class Sample(NamedTuple):
    """A record.

    Args:
        where: it stands, for messages.
        dataset: the collection of videos that it is from.
        name: of the sample.
        segments: the actions as they were done.
        candidates: plans, each a list of actions in words.
        truth: the number of the right plan, as the file counts.
    """

    where: str
    dataset: str
    name: str
    segments: tuple[Segment, ...]
    candidates: tuple[tuple[str, ...], ...]
    truth: int


def read_samples(path: Path) -> list[Sample]:
    """All records of a file.

    Raises:
        InputError: there is no such file, or a record is not as expected.
    """
    found = read_json(path)
    samples = list(_samples(path, found)) if isinstance(found, dict) else []
    if not samples:
        raise InputError(f"{path}: found no record, expected a JSON object of datasets, each an object of records")
    return samples


def first_number(path: Path, samples: list[Sample]) -> int:
    """From which number the file counts plans: 0 or 1, whichever makes the right plan the one that was done.

    Raises:
        InputError: both fit, or neither does.
    """
    fits = {first for first in (0, 1) if all(_fits(sample, first) for sample in samples)}
    if len(fits) != 1:
        found = "0 and from 1" if fits else "neither 0 nor 1"
        raise InputError(
            f"{path}: ground_truth: found numbers that fit counting from {found}, expected one of them; "
            "say from where with data.first_plan, or mend the file"
        )
    return fits.pop()


def _fits(sample: Sample, first: int) -> bool:
    """Whether the sample can be counted so: its right plan is there, and no other one is what was done."""
    done = tuple(segment.label for segment in sample.segments)
    right = sample.truth - first
    if not 0 <= right < len(sample.candidates):
        return False
    return done not in sample.candidates or sample.candidates[right] == done


def _samples(path: Path, found: Mapping[str, Any]) -> Iterator[Sample]:
    for dataset, records in found.items():
        if not isinstance(records, dict):
            raise InputError(f"{path}: {dataset}: found {type(records).__name__}, expected an object of records")
        for name, record in records.items():
            yield _sample(f"{path}: {dataset}: {name}", dataset, name, record)


def _sample(where: str, dataset: str, name: str, record: Any) -> Sample:
    kinds = {"original_segments": list, "candidates": list, "action_segments": dict, "ground_truth": int}
    if not isinstance(record, dict):
        raise InputError(f"{where}: found {type(record).__name__}, expected an object with {', '.join(kinds)}")
    for field, kind in kinds.items():
        value = record.get(field)
        if not isinstance(value, kind) or isinstance(value, bool) or (kind is not int and not value):
            raise InputError(f"{where}: {field}: found {value!r:.60}, expected {kind.__name__}; mend the record")
    segments = tuple(
        _segment(f"{where}: original_segments: {n}", its) for n, its in enumerate(record["original_segments"])
    )
    labels = {
        uid: check_row(f"{where}: action_segments: {uid}", its, ("action_label",))["action_label"]
        for uid, its in record["action_segments"].items()
    }
    plans = []
    for n, plan in enumerate(record["candidates"]):
        names = [plan] if isinstance(plan, str) else plan
        if not isinstance(names, list) or not names or any(its not in labels for its in map(str, names)):
            raise InputError(
                f"{where}: candidates: {n}: found {plan!r:.80}, expected a list of names from action_segments"
            )
        plans.append(tuple(labels[str(its)] for its in names))
    return Sample(where, dataset, name, segments, tuple(plans), record["ground_truth"])


def _segment(where: str, its: Any) -> Segment:
    check_row(where, its, ("video", "action_label"))
    times = []
    for field in ("segment_start_time", "segment_end_time"):
        value = its.get(field)
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
            raise InputError(f"{where}: {field}: found {value!r:.60}, expected seconds from 0; mend the record")
        times.append(float(value))
    if times[0] >= times[1]:
        raise InputError(f"{where}: found the start {times[0]:g} and the end {times[1]:g}, expected it to take time")
    return Segment(its["video"], times[0], times[1], its["action_label"])
