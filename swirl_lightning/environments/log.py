"""Your own logs: a folder with one file a split, or one file that is split by episode."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from swirl_lightning.environments.asking import FEWEST_EPISODES, FEWEST_LABELS
from swirl_lightning.environments.collection import RECORD, read_collection
from swirl_lightning.environments.files import FilesDataModule
from swirl_lightning.environments.rows import SUFFIXES, drop_actions, read_rows
from swirl_lightning.environments.splits import SPLITS, Fractions, Split, assign_splits, divide
from swirl_lightning.environments.table import pick, values
from swirl_lightning.metrics import PredictionMetric
from swirl_lightning.metrics.pictures import picture_metrics
from swirl_lightning.pictures import is_picture
from swirl_lightning.types import InputError, Transition

log = logging.getLogger(__name__)
ASKED = 60
"""Labels that a log without enough of them is told to ask for."""
HELD_OUT: tuple[Split, ...] = ("validation", "test")


class LogDataModule(FilesDataModule):
    """Transitions from JSONL, gzipped JSONL or Parquet with rows ``episode, step, state, next_state, action?``.

    Where states are pictures, rows have the paths of their files, from the log's folder on, in ``image`` and
    ``next_image``.

    A folder holds ``labelled``, ``state_only``, ``validation`` and ``test``, each with one of the suffixes ``.jsonl``,
    ``.jsonl.gz`` and ``.parquet``; one that ``swirl collect`` wrote is compared with its record. A single file is split
    by episode with the seed. Where some of its rows have no action, those that have one are the labels: some of their
    episodes are held out for validation and test, and all other rows train, with their actions or as state-only rows.
    A folder of ``labelled`` and ``state_only`` alone is divided likewise.

    Args:
        path: the folder or the file.
        fractions: of a single file, the share of the episodes in labelled, state_only, validation and test. Where some
            rows have no action, the first, third and fourth are those of the episodes with labels.
        kwargs: arguments of ``TransitionDataModule``.
    """

    def __init__(self, path: Path, fractions: Fractions = (0.4, 0.4, 0.1, 0.1), **kwargs: Any) -> None:
        super().__init__(path, fractions, **kwargs)

    def read(self) -> Mapping[Split, Sequence[Transition]]:
        """One file for each split, or the single file, divided. No episode stands in two splits."""
        if self.path.is_dir():
            return self._read_folder()
        rows = read_rows(self.path, actions=None)
        actions = values(rows, "action")
        if None in actions:
            labels = pick(rows, [place for place, action in enumerate(actions) if action is not None])
            return self._hold_out(labels, pick(rows, [place for place, action in enumerate(actions) if action is None]))
        keyed = ((episode, place) for place, episode in enumerate(values(rows, "episode")))
        places = divide(keyed, self.fractions, self.seed, "episode")
        parts = {split: pick(rows, its) for split, its in places.items()}
        return parts | {"state_only": drop_actions(parts["state_only"], self.path)}

    def metrics(self) -> dict[str, PredictionMetric]:
        """Where states are pictures: cells, which are those of the model, PSNR and SSIM."""
        return picture_metrics() if is_picture(self.load("test")[0].state) else {}

    def _hold_out(
        self, labels: Sequence[Transition], others: Sequence[Transition]
    ) -> Mapping[Split, Sequence[Transition]]:
        """Whole episodes of the labels as validation and test; no row of them trains.

        Args:
            labels: the rows with an action.
            others: the rows without.

        Raises:
            InputError: there are too few labels to train and to measure with.
        """
        labelled_in, other_in = (values(rows, "episode") for rows in (labels, others))
        episodes = set(labelled_in)
        if len(labels) < FEWEST_LABELS or len(episodes) < FEWEST_EPISODES:
            log_file = self._file_of("state_only") if self.path.is_dir() else self.path
            command = shlex.join(["swirl", "label", str(log_file), "--ask", str(ASKED), "--out", "questions.txt"])
            raise InputError(
                f"{self.path}: found {len(labels)} rows with an action in {len(episodes)} episodes, expected at least "
                f"{FEWEST_LABELS} in {FEWEST_EPISODES}: some train both models, whole episodes of others are held out "
                "to measure with; write what was done into the field action of some rows: "
                f"'{command}' chooses them, of every kind of change"
            )
        train, _, *held_out = self.fractions
        shares = (train, *held_out)
        fractions = [share / sum(shares) for share in shares]
        split_of = assign_splits(episodes, fractions, self.seed, "episode", ("labelled", *HELD_OUT))
        parts: dict[Split, Sequence[Transition]] = {
            split: pick(labels, [place for place, its in enumerate(labelled_in) if split_of[its] == split])
            for split in ("labelled", *HELD_OUT)
        }
        left = [place for place, its in enumerate(other_in) if split_of.get(its) not in HELD_OUT]
        parts["state_only"] = pick(others, left)
        if not getattr(rank_zero_only, "rank", 0):
            log.info(
                "%s: %d of %d rows have an action; %d without one are in held-out episodes and not used.",
                self.path, len(labels), len(labels) + len(others), len(others) - len(left),
            )  # fmt: skip
        return parts

    def _read_folder(self) -> Mapping[Split, Sequence[Transition]]:
        if not any(self._files_of(split) for split in HELD_OUT):
            bare = self._files_of("state_only") and not self._files_of("labelled")
            labels = [] if bare else read_rows(self._file_of("labelled"), actions=True)
            return self._hold_out(labels, read_rows(self._file_of("state_only"), actions=False))
        parts: Mapping[Split, Sequence[Transition]]
        if (self.path / RECORD).is_file():
            parts = read_collection(self.path)
        else:
            parts = {split: read_rows(self._file_of(split), actions=split != "state_only") for split in SPLITS}
        seen: dict[str, Split] = {}
        for split, transitions in parts.items():
            for episode in dict.fromkeys(values(transitions, "episode")):
                if (other := seen.setdefault(episode, split)) != split:
                    raise InputError(
                        f"{self.path}: episode {episode!r} is in {other} and in {split}, expected one split for each "
                        "episode; rename it, or move all of it to one file"
                    )
        return parts

    def _files_of(self, split: Split) -> list[Path]:
        return [path for suffix in SUFFIXES if (path := self.path / f"{split}{suffix}").is_file()]

    def _file_of(self, split: Split) -> Path:
        found = self._files_of(split)
        if len(found) != 1:
            raise InputError(
                f"{self.path}: found {[path.name for path in found] or 'no file'} for the split {split}, expected one "
                f"of {split}{{{','.join(SUFFIXES)}}}; a data set has one file for each of {', '.join(SPLITS)}"
            )
        return found[0]
