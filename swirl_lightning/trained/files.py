"""Files and folders that are whole or not there."""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from swirl_lightning.environments.rows import IMAGES, SUFFIXES
from swirl_lightning.types import InputError, writing

SYSTEM = re.compile(r"\(os error \d+\)")
"""How libraries in Rust end what they say of the system's errors; that of tokenizers has no class of its own."""
WriteRows = Callable[[Sequence[Mapping[str, Any]]], None]


def check_new(path: Path) -> None:
    """Refuse a name that is taken."""
    if path.exists():
        raise InputError(f"{path}: already there, expected a new name: nothing is written over; choose another")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place to write a file or a folder, which gets its name when all is written and goes after an error.

    Raises:
        InputError: the name is taken: nothing is written over.
    """
    check_new(path)
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove(part)  # left by a process that was killed
    try:
        with writing(path):
            yield part
        part.rename(path)
    except Exception as error:
        if not (isinstance(error, SafetensorError) or SYSTEM.search(str(error))):
            raise
        raise InputError(f"{path}: {error}; expected a place to write to, with room for it") from error
    finally:
        _remove(part)


@contextmanager
def rows_files(*paths: Path) -> Iterator[list[WriteRows]]:
    """Write rows to new files, each in the format that its name ends in: for each a function that takes some at a time.

    They get their names together, once all are written. The same rows give the same bytes.

    Raises:
        InputError: a name has another ending, or is taken.
    """
    for path in paths:
        if not path.name.endswith(SUFFIXES):
            raise InputError(f"{path}: found the name {path.name!r}, expected one ending in {', '.join(SUFFIXES)}")
    with ExitStack() as names:
        parts = [names.enter_context(whole(path)) for path in paths]
        with ExitStack() as files:
            yield [_open(part, path.suffix, files) for part, path in zip(parts, paths, strict=True)]


def _open(part: Path, suffix: str, stack: ExitStack) -> WriteRows:
    if suffix == ".parquet":
        return stack.enter_context(_parquet(part))
    raw: Any = stack.enter_context(part.open("wb"))
    if suffix == ".gz":
        raw = stack.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0))
    file = stack.enter_context(io.TextIOWrapper(raw, encoding="utf-8", newline="\n"))
    return lambda rows: file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@contextmanager
def _parquet(path: Path) -> Iterator[WriteRows]:
    import pyarrow
    import pyarrow.parquet

    def begin(row: Mapping[str, Any]) -> pyarrow.parquet.ParquetWriter:
        states = [image if image in row else state for state, image in IMAGES.items()]
        kinds = {"episode": pyarrow.string(), "step": pyarrow.int64()}
        fields = kinds | dict.fromkeys((*states, "action"), pyarrow.string())
        return stack.enter_context(pyarrow.parquet.ParquetWriter(path, pyarrow.schema(list(fields.items()))))

    writer: pyarrow.parquet.ParquetWriter | None = None

    def write(rows: Sequence[Mapping[str, Any]]) -> None:
        nonlocal writer
        if rows:
            writer = writer or begin(rows[0])
            writer.write_table(pyarrow.Table.from_pylist(list(rows), writer.schema))

    with ExitStack() as stack:
        yield write
        writer = writer or begin({})  # a file without rows is a file


def read_text(path: Path, option: str) -> str:
    """The text of a file, without the line end that editors put last.

    Raises:
        InputError: there is no such file, or it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{option}: {path}: {error}; expected a text file in UTF-8") from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
