"""The base of data modules whose transitions lie in files: everything is read once, for all four splits."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.environments.splits import Fractions, Split
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
        self._parts: dict[Split, list[Transition]] = {}

    @abstractmethod
    def read(self) -> dict[Split, list[Transition]]:
        """All transitions of each split, from the files.

        Raises:
            InputError: something is missing, malformed or not what was collected.
        """

    def load(self, split: Split) -> list[Transition]:
        """The transitions of a split; the first call reads the files."""
        if not self._parts:
            self._parts = self.read()
            self.splits = {t.episode: name for name, transitions in self._parts.items() for t in transitions}
        return self._parts[split]
