"""Where two lists of lines differ, in near-linear time: the diff behind the line form of delta.py."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from difflib import SequenceMatcher

Range = tuple[int, int, int, int]
"""a[i:j] becomes b[k:m], as (i, j, k, m)."""
_MAX_STEPS = 5_000_000  # of difflib on one gap, at its worst; keeps 10,000 lines under a second


def changed_ranges(a: list[str], b: list[str]) -> Iterator[Range]:
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


def _gap_ranges(a: list[str], b: list[str], gap: Range) -> Iterator[Range]:
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
