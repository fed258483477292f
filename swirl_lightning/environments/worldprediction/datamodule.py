"""WorldPrediction: episodes of up to six turns between frames of videos, and plans to choose from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

from swirl_lightning.codecs.cache import key_of
from swirl_lightning.environments.benchmark import BenchmarkDataModule, counts, told_missing
from swirl_lightning.environments.unpacked import kept
from swirl_lightning.environments.worldprediction.metadata import Sample, first_number, read_samples
from swirl_lightning.metrics.choice import Plans
from swirl_lightning.pictures import name_picture, write_image
from swirl_lightning.types import InputError, Transition, check_number

log = logging.getLogger(__name__)


class WorldPredictionDataModule(BenchmarkDataModule):
    """WorldPrediction: its metadata, and frames that are cut from the videos, which are licensed one by one.

    **All of the layout is unverified**: it is what SWIRL's release reads, and no one here could open the files. An
    episode is a sample; its state is the frame at which its first action begins, and each action leads to the frame at
    which it ends. So every turn begins where the one before it ended. (SWIRL's release takes the frame in the middle of
    each action, and compares the frame after the first action with the one before it.) The subsets are the collections
    of videos: COIN, CrossTask and so on.

    Frames are cut once, by PyAV, and kept as PNG files in ``swirl-lightning/pictures`` in the folder that
    HF_DATASETS_CACHE names, or else in that for the user's caches.

    Args:
        path: the folder.
        metadata: its file with the records.
        videos: its folder with the videos, each at the path that the metadata names, or in a folder of the name of its
            collection.
        turns: longest episode; later actions are left out. Plans are chosen among only where an episode is whole.
        longest_side: of a frame, in pixels; larger ones are scaled down.
        first_plan: from which number ``ground_truth`` counts; null finds it by the plan that was done.
        kwargs: arguments of ``BenchmarkDataModule`` and ``TransitionDataModule``.
    """

    def __init__(
        self,
        path: Path,
        metadata: str = "metadata.json",
        videos: str = "videos",
        turns: int = 6,
        longest_side: int = 512,
        first_plan: Literal[0, 1] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(path, **kwargs)
        check_number("data.turns", turns, least=1)
        check_number("data.longest_side", longest_side, least=1)
        self.metadata = metadata
        self.videos = videos
        self.turns = turns
        self.longest_side = longest_side
        self.first_plan = first_plan
        self.plans: list[Plans] = []

    def read_test(self) -> list[Transition]:
        """All turns of all samples whose videos are there."""
        path = self.path / self.metadata
        samples = read_samples(path)
        first = first_number(path, samples) if self.first_plan is None else self.first_plan
        there, missing = [], []
        for sample in samples:
            gone = [its.video for its in sample.segments[: self.turns] if not self._video(sample, its.video).is_file()]
            missing += [str(self.path / self.videos / name) for name in gone[:1]]
            if not gone:
                there.append(sample)
        told_missing(path, missing, len(samples), self.skip_missing)
        episodes = [self._episode(sample) for sample in there]
        self.plans = [
            self._plans(sample, episode, sample.truth - first)
            for sample, episode in zip(there, episodes, strict=True)
            if len(sample.segments) <= self.turns
        ]
        test = [t for episode in episodes for t in episode]
        log.info("%s: turns: %s; %d samples to choose plans in", path, counts(test), len(self.plans))
        return test

    def _episode(self, sample: Sample) -> list[Transition]:
        segments = sample.segments[: self.turns]
        moments = [(segments[0].video, segments[0].start), *((its.video, its.end) for its in segments)]
        states = [self._frame(sample, video, seconds) for video, seconds in moments]
        name = f"{sample.dataset}/{sample.name}"
        return [
            Transition(name, k, states[k], states[k + 1], its.label, sample.dataset) for k, its in enumerate(segments)
        ]

    def _plans(self, sample: Sample, episode: list[Transition], truth: int) -> Plans:
        if not 0 <= truth < len(sample.candidates):
            raise InputError(
                f"{sample.where}: ground_truth: found {sample.truth}, expected one of {len(sample.candidates)} plans, "
                f"counted from {sample.truth - truth}"
            )
        return Plans(tuple(episode), sample.candidates, truth)

    def _video(self, sample: Sample, name: str) -> Path:
        own, shared = (self.path / self.videos / part for part in (f"{sample.dataset}/{name}", name))
        return own if own.is_file() else shared

    def _frame(self, sample: Sample, name: str, seconds: float) -> str:
        # here: the benchmark's metadata can be read without that folder
        from swirl_lightning.environments.video.likeness import within
        from swirl_lightning.environments.video.moments import frame_at

        video = self._video(sample, name)
        about = video.stat()
        key = key_of(str(video.absolute()), about.st_size, about.st_mtime_ns, seconds, self.longest_side)
        try:
            return name_picture(
                kept(f"{key}.png", lambda part: write_image(part, within(frame_at(video, seconds), self.longest_side)))
            )
        except InputError as error:
            raise InputError(f"{sample.where}: {error}") from error
