"""Your own logs: a folder with one file a split, or one file that is split by episode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swirl_lightning.environments.files import FilesDataModule
from swirl_lightning.environments.rows import SUFFIXES, read_rows, scan_rows, transitions_of
from swirl_lightning.environments.splits import SPLITS, Fractions, Split, divide
from swirl_lightning.types import InputError, Transition


class LogDataModule(FilesDataModule):
    """Transitions from JSONL, gzipped JSONL or Parquet with rows ``episode, step, state, next_state, action?``.

    A folder holds ``labelled``, ``state_only``, ``validation`` and ``test``, each with one of the suffixes ``.jsonl``,
    ``.jsonl.gz`` and ``.parquet``. A single file is split by episode with the seed.

    Args:
        path: the folder or the file.
        fractions: of a single file, the share of the episodes in labelled, state_only, validation and test.
        kwargs: arguments of ``TransitionDataModule``.
    """

    def __init__(self, path: Path, fractions: Fractions = (0.4, 0.4, 0.1, 0.1), **kwargs: Any) -> None:
        super().__init__(path, fractions, **kwargs)

    def read(self) -> dict[Split, list[Transition]]:
        """One file for each split, or the single file, divided. No episode stands in two splits."""
        if self.path.is_dir():
            return self._read_folder()
        rows = ((row[1].episode, row) for row in scan_rows(self.path))
        parts = divide(rows, self.fractions, self.seed, "episode")
        return {split: transitions_of(self.path, part, actions=split != "state_only") for split, part in parts.items()}

    def _read_folder(self) -> dict[Split, list[Transition]]:
        parts = {split: read_rows(self._file_of(split), actions=split != "state_only") for split in SPLITS}
        seen: dict[str, Split] = {}
        for split, transitions in parts.items():
            for episode in dict.fromkeys(t.episode for t in transitions):
                if (other := seen.setdefault(episode, split)) != split:
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
