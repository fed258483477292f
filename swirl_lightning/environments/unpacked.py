"""Pictures that lie in no file of their own, as files in the folder of caches; each is written once."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from swirl_lightning.codecs.cache import cache_folder
from swirl_lightning.types import writing

MAGIC = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp"}


def kept_bytes(data: bytes) -> Path:
    """The file of these bytes of an image, which is named by them."""
    suffix = next((suffix for magic, suffix in MAGIC.items() if data.startswith(magic)), ".image")
    return kept(f"{blake2b(data, digest_size=16).hexdigest()}{suffix}", lambda part: part.write_bytes(data))


def kept(name: str, write: Callable[[Path], object]) -> Path:
    """The file of a name; where it is not there, it is written under another name and moved.

    Args:
        name: says all that the content depends on.
        write: writes it to a path.

    Raises:
        OSError: it cannot be written.
    """
    path = cache_folder() / "pictures" / name
    if not path.is_file():
        part = path.with_name(f"{os.getpid()}.part.{name}")
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                write(part)
                os.replace(part, path)
            finally:
                with suppress(OSError):
                    part.unlink()
    return path
