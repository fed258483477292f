"""Answers of a judge on disk, by the request that they answer: what was paid for once is not asked again."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from swirl_lightning.types import writing


class AnswerCache:
    """A folder with a file for each request.

    Args:
        folder: is made where it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def get(self, url: str, body: Mapping[str, Any]) -> str | None:
        """The answer to this very request; None where there is none, or none that can be read."""
        try:
            kept = json.loads(self._path(url, body).read_text(encoding="utf-8"))
            return kept["answer"] if isinstance(kept["answer"], str) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, url: str, body: Mapping[str, Any], answer: str) -> None:
        """Keep an answer, whole or not at all."""
        path = self._path(url, body)
        part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
        with writing(path):
            part.write_text(json.dumps({"answer": answer}), encoding="utf-8")
            os.replace(part, path)

    def _path(self, url: str, body: Mapping[str, Any]) -> Path:
        key = json.dumps({"url": url, "body": body}, sort_keys=True).encode()
        return self.folder / f"{sha256(key).hexdigest()}.json"
