"""The base of data modules whose transitions lie in files: everything is read once, for all four splits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.environments.splits import Fractions, Split
from swirl_lightning.environments.table import values
from swirl_lightning.types import Transition


class FilesDataModule(TransitionDataModule):
    """Transitions from a file or a folder. A subclass says in ``read`` how it is read.

    The attribute ``splits`` records the split of each episode.

    Args:
        path: the file or the folder.
        fractions: of what comes unsplit, the share in labelled, state_only, validation and test.
        kwargs: arguments of ``TransitionDataModule``.
    """

    def __init__(self, path: Path, fractions: Fractions, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path = Path(path)
        self.fractions = fractions
        self.splits: dict[str, Split] = {}
        self._parts: Mapping[Split, Sequence[Transition]] = {}

    @abstractmethod
    def read(self) -> Mapping[Split, Sequence[Transition]]:
        """All transitions of each split, from the files.

        Raises:
            InputError: something is missing, malformed or not what was collected.
        """

    def load(self, split: Split) -> Sequence[Transition]:
        """The transitions of a split; the first call reads the files."""
        if not self._parts:
            self._parts = self.read()
            self.splits = {its: name for name, rows in self._parts.items() for its in values(rows, "episode")}
        return self._parts[split]
