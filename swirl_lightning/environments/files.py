"""The base of data modules whose transitions lie in files: everything is read once, for all four splits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.environments.splits import SPLITS, Fractions, Split
from swirl_lightning.environments.table import values
from swirl_lightning.types import InputError, Transition


class FilesDataModule(TransitionDataModule):
    """Transitions from a file or a folder. A subclass says in ``read`` how it is read.

    Args:
        path: the file or the folder.
        fractions: of what comes unsplit, the share in labelled, state_only, validation and test.
        kwargs: arguments of ``TransitionDataModule``.
    """

    def __init__(self, path: Path, fractions: Fractions, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path = Path(path)
        self.fractions = fractions
        self._parts: Mapping[Split, Sequence[Transition]] = {}

    @property
    def splits(self) -> dict[str, Split]:
        """The split of each episode, once the files are read."""
        return {its: name for name, rows in self._parts.items() for its in values(rows, "episode")}

    @abstractmethod
    def read(self) -> Mapping[Split, Sequence[Transition]]:
        """All transitions of each split, from the files.

        Raises:
            InputError: something is missing, malformed or not what was collected.
        """

    def load(self, split: Split) -> Sequence[Transition]:
        """The transitions of a split; the first call reads the files."""
        if not self._parts:
            parts = self.read()
            if not isinstance(parts, Mapping) or parts.keys() != {*SPLITS}:
                found = sorted(parts) if isinstance(parts, Mapping) else type(parts).__name__
                raise InputError(
                    f"data: {type(self).__module__}.{type(self).__qualname__}.read returned {found}, expected "
                    f"transitions for each of {', '.join(SPLITS)}"
                )
            self._parts = parts
        return self._parts[split]
