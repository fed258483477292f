"""The grammar of results: JSON one key a line, any other text as it stands."""

from __future__ import annotations

import json
from typing import Any

WIDTH = 100  # characters of JSON that may stand on one line
EMPTY_PLANES = "\U00040000"


def pretty(value: Any, depth: int = 0) -> str:
    """JSON with one key or element of the outermost container a line; an inner one is broken where it is too wide.

    ``json.loads`` gives the value back.
    """
    text = write_json(value)
    if not isinstance(value, dict | list) or not value or (depth and len(text) <= WIDTH):
        return text
    if isinstance(value, dict):
        items = [f"{write_json(key)}: {pretty(item, depth + 1)}" for key, item in value.items()]
    else:
        items = [pretty(item, depth + 1) for item in value]
    pad, (first, last) = " " * depth, "{}" if isinstance(value, dict) else "[]"
    return first + "\n" + ",\n".join(f"{pad} {item}" for item in items) + f"\n{pad}{last}"


def write_json(value: Any) -> str:
    """JSON on one line.

    In ASCII where the value has half a surrogate pair, which no file could hold, or a number from the planes of Unicode
    that have no characters: those come of binary data, and SmolLM's tokenizer, for one, loses them.
    """
    text = json.dumps(value, ensure_ascii=False)
    return text if _is_unicode(text) and max(text) < EMPTY_PLANES else json.dumps(value)


def result_block(text: str) -> str:
    """A result: JSON objects and lists broken into lines, any other text as it stands."""
    try:
        value = json.loads(text, object_pairs_hook=_distinct)
        if isinstance(value, dict | list):
            return pretty(value)
    except (ValueError, RecursionError):
        pass
    return text if _is_unicode(text) else text.encode("utf-8", "replace").decode()


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; one with a key that stands twice stays text, as writing it anew would lose one of them."""
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError
    return found
