"""Which known name a misspelt one most likely stands for."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

LIKE = 0.6
"""At least this alike are the last parts of two names, of which one may stand for the other; 1 is the same."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: ``; did you mean NAME?``, or nothing where no name is alike.

    Names are compared with their last parts counted twice, so that ``--model.max_token`` stands for
    ``--model.max_tokens`` and not for the first option that begins with ``--model.``.
    """
    alike = {name: _likeness(_last(given), _last(name)) for name in known}
    close = [name for name, likeness in alike.items() if likeness >= LIKE]
    if not close:
        return ""
    return f"; did you mean {max(close, key=lambda name: alike[name] + _likeness(given, name))}?"


def _last(name: str) -> str:
    return name.rpartition(".")[2].lstrip("-")


def _likeness(a: str, b: str) -> float:
    return SequenceMatcher(None, a, b).ratio()
