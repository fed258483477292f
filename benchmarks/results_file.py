"""Files of results: JSON that a person can read and whose changes a diff can show, in few lines."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

DIGITS = 8
"""Significant digits of every figure."""
WIDTH = 200
"""What fits in so many characters is not divided."""


def rounded(value: Any) -> Any:
    """A value as a file of results holds it and gives it back: tuples as lists, figures of so many digits."""
    if isinstance(value, dict):
        return {str(key): rounded(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(each) for each in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def dumps(value: Any, depth: int, indent: int = 0, width: int = WIDTH) -> str:
    """JSON of a rounded value. What is short or ``depth`` levels down has one line; neighbours without parts too."""
    whole = json.dumps(value, ensure_ascii=False)
    if depth == 0 or not value or not isinstance(value, (dict, list)) or indent + len(whole) <= width:
        return whole
    parts = list(value.values() if isinstance(value, dict) else value)
    texts = [dumps(part, depth - 1, indent + 1, width) for part in parts]
    if isinstance(value, dict):
        texts = [f"{json.dumps(key, ensure_ascii=False)}: {text}" for key, text in zip(value, texts, strict=True)]
    start = "\n" + " " * (indent + 1)
    lines, together = "", False
    for part, text in zip(parts, texts, strict=True):
        plain = not isinstance(part, (dict, list))
        lines += ("," if lines else "") + (" " if together and plain else start) + text
        together = plain
    left, right = "{}" if isinstance(value, dict) else "[]"
    return f"{left}{lines}\n{' ' * indent}{right}"


def write(path: Path, content: Any, depth: int) -> None:
    """Write beside the file first, so that a kill leaves the old one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(dumps(rounded(content), depth) + "\n", encoding="utf-8")
    os.replace(partial, path)
