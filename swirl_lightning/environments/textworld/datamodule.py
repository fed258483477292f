"""TextWorld (arXiv 1806.11532) transitions: those that come with the package, or your own collection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swirl_lightning.environments.log import LogDataModule

QUICKSTART = Path(__file__).parent / "quickstart"


class TextWorldDataModule(LogDataModule):
    """A collection made by ``swirl collect textworld``. Reading it does not need TextWorld.

    Args:
        root: the folder of the collection; null means the one that comes with the package.
        kwargs: arguments of ``LogDataModule``.
    """

    def __init__(self, root: Path | None = None, **kwargs: Any) -> None:
        super().__init__(QUICKSTART if root is None else root, **kwargs)
