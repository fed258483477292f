"""AURORA-Bench, and the training pairs of AURORA, as published."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from swirl_lightning.environments.aurora.bench import TASKS, Task, read_edits
from swirl_lightning.environments.aurora.claims import read_claims
from swirl_lightning.environments.benchmark import BenchmarkDataModule, counts
from swirl_lightning.metrics.choice import Claim
from swirl_lightning.types import InputError, Transition

log = logging.getLogger(__name__)


class AuroraDataModule(BenchmarkDataModule):
    """AURORA-Bench in its official layout (``McGill-NLP/AURORA``): the pairs of ``test.json`` that have a target.

    The training rows are those of ``data/TASK/train.json`` and, beside ``test.json``, of ``train.json``, whose rows
    name their task. They are divided so that rows that share a picture stay together. ``test.json`` and the train files
    of two tasks have been seen as published; a ``train.json`` beside it is our guess, **unverified**.

    Args:
        path: the folder of the repository, which holds ``test.json`` and ``data/``.
        tasks: which tasks are read; null means the five that have targets.
        kwargs: arguments of ``BenchmarkDataModule`` and ``TransitionDataModule``.
    """

    def __init__(self, path: Path, tasks: list[Task] | None = None, **kwargs: Any) -> None:
        super().__init__(path, **kwargs)
        self.tasks: tuple[Task, ...] = TASKS if tasks is None else tuple(tasks)
        if wrong := [name for name in self.tasks if name not in TASKS]:
            raise InputError(f"data.tasks: found {wrong[0]!r}, expected names from {', '.join(TASKS)}")

    def read_test(self) -> list[Transition]:
        """The test rows of the tasks."""
        edits = read_edits(self.path / "test.json", self.path, self.tasks, None, self.skip_missing)
        if not edits:
            raise InputError(f"{self.path / 'test.json'}: found no row of {', '.join(self.tasks)}, expected some")
        self.captions = {(t.episode, t.step): (None, caption) for t, caption in edits if caption}
        test = [edit.transition for edit in edits]
        log.info("%s: %s", self.path / "test.json", counts(test))
        return test

    def claims(self) -> list[Claim]:
        """The claims of DiscEdit, for the callback ``DiscEdit``."""
        return read_claims(self.path, self.tasks)

    def read_train(self) -> list[Transition]:
        """The training rows of the tasks, of the files that are there."""
        files = {self.path / "data" / task / "train.json": task for task in self.tasks}
        named: dict[Path, Task | None] = {self.path / "train.json": None, **files}
        train = [
            replace(edit.transition, episode=f"{'train' if task else 'all'}-{edit.transition.episode}")
            for file, task in named.items()
            if file.is_file()
            for edit in read_edits(file, self.path, self.tasks, task, self.skip_missing)
        ]
        if train:
            log.info("%s: training rows: %s", self.path, counts(train))
        return train
