"""Your own logs: a folder with one file a split, or one file that is split by episode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.environments.rows import SUFFIXES, drop_actions, read_rows, require_actions, scan_rows
from swirl_lightning.environments.splits import SPLITS, Fractions, Split, assign_splits
from swirl_lightning.types import InputError, Transition


class LogDataModule(TransitionDataModule):
    """Transitions from JSONL, gzipped JSONL or Parquet with rows ``episode, step, state, next_state, action?``.

    A folder holds ``labelled``, ``state_only``, ``validation`` and ``test``, each with one of the suffixes ``.jsonl``,
    ``.jsonl.gz`` and ``.parquet``. A single file is split by episode with the seed. The attribute ``splits`` records
    the split of each episode.

    Args:
        path: the folder or the file.
        fractions: of a single file, the share of the episodes in labelled, state_only, validation and test.
        kwargs: arguments of ``TransitionDataModule``.
    """

    def __init__(self, path: Path, fractions: Fractions = (0.4, 0.4, 0.1, 0.1), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path = Path(path)
        self.fractions = fractions
        self.splits: dict[str, Split] = {}
        self._parts: dict[Split, list[Transition]] = {}

    def load(self, split: Split) -> list[Transition]:
        """Read the file of the split, or, once for all splits, the single file.

        Raises:
            InputError: something is missing or malformed, or an episode stands in two splits.
        """
        if not self._parts:
            self._parts = self._read_folder() if self.path.is_dir() else self._read_file()
        return self._parts[split]

    def _read_folder(self) -> dict[Split, list[Transition]]:
        parts = {split: read_rows(self._file_of(split), actions=split != "state_only") for split in SPLITS}
        for split, transitions in parts.items():
            for episode in dict.fromkeys(t.episode for t in transitions):
                if (other := self.splits.setdefault(episode, split)) != split:
                    raise InputError(
                        f"{self.path}: episode {episode!r} is in {other} and in {split}, expected one split for each "
                        "episode; rename it, or move all of it to one file"
                    )
        return parts

    def _file_of(self, split: Split) -> Path:
        found = [path for suffix in SUFFIXES if (path := self.path / f"{split}{suffix}").is_file()]
        if len(found) != 1:
            raise InputError(
                f"{self.path}: found {[path.name for path in found] or 'no file'} for the split {split}, expected one "
                f"of {split}{{{','.join(SUFFIXES)}}}; a data set has one file for each of {', '.join(SPLITS)}"
            )
        return found[0]

    def _read_file(self) -> dict[Split, list[Transition]]:
        rows = list(scan_rows(self.path))
        self.splits = assign_splits({t.episode for _, t in rows}, self.fractions, self.seed, "episode")
        parts = {split: [row for row in rows if self.splits[row[1].episode] == split] for split in SPLITS}
        return {
            split: drop_actions([t for _, t in part], self.path)
            if split == "state_only"
            else require_actions(self.path, part)
            for split, part in parts.items()
        }
