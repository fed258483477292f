"""ByteMorph-Bench as Parquet. No one here could open the published files: what is marked unverified is a guess."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from swirl_lightning.environments.benchmark import BenchmarkDataModule, check_row, counts, told_missing
from swirl_lightning.environments.rows import parquet_rows
from swirl_lightning.environments.unpacked import kept_bytes
from swirl_lightning.pictures import name_picture
from swirl_lightning.types import InputError, Transition

TYPES = ("camera zoom", "camera motion", "object motion", "human motion", "interaction")
INSTRUCTIONS = ("edit_prompt_rewrite_instruction", "edit_prompt")
CAPTIONS = ("src_img_caption", "tgt_img_caption")
IMAGES = ("src_img", "tgt_img")
log = logging.getLogger(__name__)


class ByteMorphDataModule(BenchmarkDataModule):
    """ByteMorph-Bench: ``data/test-*.parquet``, or all Parquet files of the folder, each row a pair of pictures.

    The columns are those that the releases of ByteMorph and of SWIRL read: ``image_id``, ``edit_type``, ``src_img``,
    ``tgt_img``, the instruction in ``edit_prompt_rewrite_instruction``, else in ``edit_prompt``, and the captions
    ``src_img_caption`` and ``tgt_img_caption``, which may be missing. **Unverified**: that pictures are bytes, or a
    struct of ``bytes`` and ``path``, or a path from the Parquet file on; and the spelling of the five types, which are
    compared in lower case with all but letters taken for spaces. It has no training rows.

    Pictures that are bytes are written as files, unchanged, into ``swirl-lightning/pictures`` in the folder that
    HF_DATASETS_CACHE names, or else in that for the user's caches.

    Args:
        path: the folder.
        types: the types that are read; null means all rows, which must be of the five known ones.
        kwargs: arguments of ``BenchmarkDataModule`` and ``TransitionDataModule``.
    """

    def __init__(self, path: Path, types: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(path, **kwargs)
        self.types = None if types is None else [_spelt(name) for name in types]

    def read_test(self) -> list[Transition]:
        """All rows of the types."""
        files = sorted(self.path.glob("data/test-*.parquet")) or sorted(self.path.glob("*.parquet"))
        if not files:
            raise InputError(f"{self.path}: found no Parquet file, expected data/test-*.parquet as published")
        test: list[Transition] = []
        captions: dict[tuple[str, int], tuple[str | None, str | None]] = {}
        missing: list[str] = []
        wanted = 0
        for file in files:
            for n, row in parquet_rows(file):
                where = f"{file}: row {n}"
                if (kind := self._type(where, row)) is None:
                    continue
                wanted += 1
                states = [_picture(where, field, row, file.parent) for field in IMAGES]
                missing += [str(state) for state in states if isinstance(state, Path)][:1]
                x, y = (state if isinstance(state, str) else "" for state in states)
                if x and y:
                    t = Transition(
                        f"{file.stem}-{n:05d}-{row.get('image_id')}", 0, x, y, _instruction(where, row), kind
                    )
                    before, after = (row.get(field) if isinstance(row.get(field), str) else None for field in CAPTIONS)
                    captions[t.episode, t.step] = before, after
                    test.append(t)
        told_missing(self.path, missing, wanted, self.skip_missing)
        if not test:
            raise InputError(f"{self.path}: found no row of the types {self.types}, expected some; check data.types")
        self.captions = captions
        log.info("%s: %s", self.path, counts(test))
        return test

    def _type(self, where: str, row: dict[str, Any]) -> str | None:
        """The type of a row; None where it is not wanted."""
        kind = _spelt(check_row(where, row, ("edit_type",))["edit_type"])
        if self.types is not None:
            return kind if kind in self.types else None
        if kind not in TYPES:
            raise InputError(
                f"{where}: edit_type: found {row['edit_type']!r:.60}, expected one of {', '.join(TYPES)}; if the "
                "file is as published, name the types that are to be read in data.types"
            )
        return kind


def _spelt(kind: str) -> str:
    return re.sub(r"[^a-z]+", " ", kind.lower()).strip()


def _instruction(where: str, row: dict[str, Any]) -> str:
    for field in INSTRUCTIONS:
        if isinstance(row.get(field), str) and row[field].strip():
            text: str = row[field]
            return text
    found = {field: row.get(field) for field in INSTRUCTIONS}
    raise InputError(f"{where}: found {found!r:.120}, expected text in one of {', '.join(INSTRUCTIONS)}; mend the row")


def _picture(where: str, field: str, row: dict[str, Any], folder: Path) -> str | Path:
    """The state of a picture; the path of a file that is not there."""
    value = row.get(field)
    data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, value)
    if isinstance(data, bytes):
        file = kept_bytes(data)
    elif isinstance(path, str) and path.strip():
        if not (file := folder / path).is_file():
            return file
    else:
        raise InputError(
            f"{where}: {field}: found {type(value).__name__}, expected the bytes of an image, a struct of bytes and "
            "path, or a path"
        )
    try:
        return name_picture(file)
    except InputError as error:
        raise InputError(f"{where}: {field}: {error}") from error
