"""The next state written as a short, lossless edit of the state, so that a model's probability goes to what changed.

An edit has one of two forms. A text is a list of lines parted by ``\\n`` alone; the empty text has no line.

Fact form, for states that are a sorted list of distinct facts, one a line. Order and place carry no meaning::

    - keycard in safe
    + keycard carried

Line form, for any other text: hunks that begin at line k of x, counted from 0, and there replace lines::

    @ 3
    - the lamp is off
    + the lamp is on

Lines that go are written out in both forms, so that a wrong edit shows itself instead of being applied elsewhere.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from difflib import SequenceMatcher

_Range = tuple[int, int, int, int]  # a[i:j] becomes b[k:m], as (i, j, k, m)
_HUNK = re.compile(r"@ (0|[1-9][0-9]{0,11})")
_MAX_STEPS = 5_000_000  # of difflib on one gap, at its worst; keeps 10,000 lines under a second


def encode_delta(x: str, y: str) -> str:
    """Writes y as an edit of x, in near-linear time.

    Args:
        x: the state.
        y: the next state.

    Returns:
        The edit: ``decode_delta(x, encode_delta(x, y)) == y`` for any two strings; empty where x equals y.
    """
    x_lines, y_lines = _lines(x), _lines(y)
    if _are_facts(x_lines) and _are_facts(y_lines):
        before, after = set(x_lines), set(y_lines)
        removed = [f"- {line}" for line in x_lines if line not in after]
        return "\n".join(removed + [f"+ {line}" for line in y_lines if line not in before])
    edit: list[str] = []
    for i, j, k, m in _changed_ranges(x_lines, y_lines):
        edit += [f"@ {i}", *(f"- {line}" for line in x_lines[i:j]), *(f"+ {line}" for line in y_lines[k:m])]
    return "\n".join(edit)


def decode_delta(x: str, edit: str) -> str | None:
    """Applies an edit to x, in linear time. The lines of a fact edit may come in any order, for they mean the same.

    Args:
        x: the state.
        edit: what a model wrote.

    Returns:
        The next state, or None where the edit is malformed or does not fit x. Never raises.
    """
    if not edit:
        return x
    x_lines, edit_lines = _lines(x), edit.split("\n")
    y_lines = _apply_hunks(x_lines, edit_lines) if edit.startswith("@") else _apply_facts(x_lines, edit_lines)
    return None if y_lines is None else "\n".join(y_lines)


def changed_lines(x: str, y: str) -> tuple[Counter[str], Counter[str]]:
    """The lines removed from x and the lines added in y, as multisets; a line that only moves is in neither."""
    before, after = Counter(_lines(x)), Counter(_lines(y))
    return before - after, after - before


def _lines(text: str) -> list[str]:
    return text.split("\n") if text else []


def _are_facts(lines: list[str]) -> bool:
    """Whether the lines are sorted, distinct and not empty: then they can be told from their set."""
    return all(a < b for a, b in zip(["", *lines], lines, strict=False))


def _apply_facts(x_lines: list[str], edit_lines: list[str]) -> list[str] | None:
    before = set(x_lines)
    touched: set[str] = set()
    for line in edit_lines:
        sign, fact = line[:2], line[2:]
        if sign not in ("- ", "+ ") or not fact or fact in touched or (sign == "- ") != (fact in before):
            return None
        touched.add(fact)
    return sorted(before ^ touched) if _are_facts(x_lines) else None


def _apply_hunks(x_lines: list[str], edit_lines: list[str]) -> list[str] | None:
    y_lines: list[str] = []
    start, place = -1, 0  # where the last hunk began; the next line of x to be read
    for line in edit_lines:
        sign, rest = line[:2], line[2:]
        if sign == "@ ":
            header, last_start = _HUNK.fullmatch(line), start
            start = int(header[1]) if header else -1
            if not max(last_start + 1, place) <= start <= len(x_lines):
                return None
            y_lines += x_lines[place:start]
            place = start
        elif sign == "+ ":
            y_lines.append(rest)
        elif sign == "- " and x_lines[place : place + 1] == [rest]:
            place += 1
        else:
            return None
    return y_lines + x_lines[place:]


def _changed_ranges(a: list[str], b: list[str]) -> Iterator[_Range]:
    """Where a and b differ: split at the lines that stand once in both (patience diff), then by difflib in the gaps.

    difflib alone takes quadratic time on a long text with many changes, cubic on repeated lines. A gap that could be
    slow becomes one range.
    """
    i = k = 0
    for anchor_a, anchor_b in [*_anchors(a, b), (len(a), len(b))]:
        j, m = anchor_a, anchor_b
        while i < j and k < m and a[i] == b[k]:
            i, k = i + 1, k + 1
        while i < j and k < m and a[j - 1] == b[m - 1]:
            j, m = j - 1, m - 1
        yield from _gap_ranges(a, b, (i, j, k, m))
        i, k = anchor_a, anchor_b  # the anchor itself opens the next gap, as a line in common


def _gap_ranges(a: list[str], b: list[str], gap: _Range) -> Iterator[_Range]:
    i, j, k, m = gap
    if i == j and k == m:
        return
    count_a, count_b = Counter(a[i:j]), Counter(b[k:m])
    pairs = sum(count * count_b[line] for line, count in count_a.items())
    if min(j - i, m - k) * (j - i + pairs) > _MAX_STEPS:
        yield gap
        return
    for tag, from_a, to_a, from_b, to_b in SequenceMatcher(None, a[i:j], b[k:m], autojunk=False).get_opcodes():
        if tag != "equal":
            yield i + from_a, i + to_a, k + from_b, k + to_b


def _anchors(a: list[str], b: list[str]) -> list[tuple[int, int]]:
    """The longest run of rising places (in a, in b) of lines that stand exactly once in each."""
    count_a, count_b = Counter(a), Counter(b)
    place_b = {line: k for k, line in enumerate(b) if count_b[line] == 1}
    runs: list[tuple[int, int, int]] = []  # place in a, place in b, index in runs of the entry before; -1 for none
    tails: list[int] = []  # tails[n]: index in runs of the smallest place in b that ends a rising run of n + 1
    for i, line in enumerate(a):
        if count_a[line] == 1 and line in place_b:
            n = bisect_left(tails, place_b[line], key=lambda entry: runs[entry][1])
            tails[n : n + 1] = [len(runs)]
            runs.append((i, place_b[line], tails[n - 1] if n else -1))
    anchors: list[tuple[int, int]] = []
    entry = tails[-1] if tails else -1
    while entry >= 0:
        i, k, entry = runs[entry]
        anchors.append((i, k))
    return anchors[::-1]
