"""Patterns of strangers, which may take longer than anyone waits."""

from __future__ import annotations

import math
import re
from functools import cache

import regex

SECONDS = 1.0  # that a pattern may take, once: one that takes longer fits nothing from then on
MOST_REPEATS = 100_000  # copies that counted repeats ask for: the library writes them out
MOST_CHARS = 1000  # of a pattern
_GROUPS = re.compile(r"\)\{(\d*,)?(\d*)\}")
_SIGNS = re.compile(r"[^)]\{(?:\d*,)?(\d*)\}")
_slow: set[str] = set()


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found in the text; one of another dialect is taken to be, one without an end not to be."""
    if pattern in _slow:
        return False
    try:
        return (
            len(pattern) <= MOST_CHARS
            and _copies(pattern) <= MOST_REPEATS
            and regex.search(pattern, text, timeout=SECONDS) is not None
        )
    except TimeoutError:
        _slow.add(pattern)
        return False
    except (regex.error, ValueError, OverflowError, RecursionError):
        return True


@cache
def _copies(pattern: str) -> int:
    groups = [int(most or least.strip(",") or 1) for least, most in _GROUPS.findall(pattern)]
    signs = [int(most or 1) for most in _SIGNS.findall(pattern)]
    return math.prod(max(count, 1) for count in groups) * max(signs, default=1)
