"""The next state written as a short, lossless edit of the state, so that a model's probability goes to what changed.

An edit has one of two forms. A text is a list of lines parted by ``\\n`` alone; the empty text has no line.

Fact form, for states that are a sorted list of distinct facts, one a line. Order and place carry no meaning::

    - keycard in safe
    + keycard carried

Line form, for any other text. It walks down x from the top and says where by what stands there::

    = <div> Results         go down behind the next line that reads so; all lines on the way stay
    - <p> none              go down to the next line that reads so; it goes
    ~ </table>              the lines from here down to the next line that reads so go, it too
    + <p> 3 hits            this line comes here
    @ end                   go down to the end
    @ 3                     go down to line 3, counted from 0: only where no few lines tell the place

Lines that go are named in both forms, so that a wrong edit shows itself instead of being applied elsewhere.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict

from swirl_lightning.codecs.delta_diff import changed_ranges

_LINE_NUMBER = re.compile(r"0|[1-9][0-9]{0,11}")
_MAX_CONTEXT = 3  # kept lines that may lead to one change; more would say less than a line number
_MAX_SPANS = 3  # of lines that one run of removed lines may be told by; what is left of it is written out
_LEAST_SPAN = 3  # lines; fewer are written out


def encode_delta(x: str, y: str) -> str:
    """Writes y as an edit of x, in near-linear time.

    Args:
        x: the state.
        y: the next state.

    Returns:
        The edit: ``decode_delta(x, encode_delta(x, y)) == y`` for any two strings; empty where x equals y.
    """
    x_lines, y_lines = _lines(x), _lines(y)
    if not _are_facts(x_lines):
        return "\n".join(_line_edit(x_lines, y_lines))
    if _are_facts(y_lines):
        before, after = set(x_lines), set(y_lines)
        removed = [f"- {line}" for line in x_lines if line not in after]
        return "\n".join(removed + [f"+ {line}" for line in y_lines if line not in before])
    edit = _line_edit(x_lines, y_lines)
    # on a state of facts, an edit that began with "-" or "+" would be read as facts
    return "\n".join(edit if edit[0].startswith(("=", "@")) else ["@ 0", *edit])


def decode_delta(x: str, edit: str) -> str | None:
    """Applies an edit to x, in near-linear time. The lines of a fact edit may come in any order; they mean the same.

    Args:
        x: the state.
        edit: what a model wrote.

    Returns:
        The next state, or None where the edit is malformed or does not fit x. Never raises.
    """
    if not edit:
        return x
    x_lines, edit_lines = _lines(x), edit.split("\n")
    facts = _are_facts(x_lines) and not edit.startswith(("=", "@"))
    y_lines = (_apply_facts if facts else _apply_lines)(x_lines, edit_lines)
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
    return sorted(before ^ touched)


def _apply_lines(x_lines: list[str], edit_lines: list[str]) -> list[str] | None:
    places: dict[str, list[int]] = defaultdict(list)
    for i, line in enumerate(x_lines):
        places[line].append(i)
    y_lines: list[str] = []
    here = 0  # the line of x before which the edit stands
    for line in edit_lines:
        sign, rest = line[:2], line[2:]
        if sign == "+ ":
            y_lines.append(rest)
            continue
        if sign in ("= ", "- ", "~ "):
            found = places.get(rest, [])
            n = bisect_left(found, here)
            there = found[n] if n < len(found) else -1
        elif sign == "@ " and (rest == "end" or _LINE_NUMBER.fullmatch(rest)):
            there = len(x_lines) if rest == "end" else int(rest)
        else:
            return None
        if not here <= there <= len(x_lines):
            return None
        if sign != "~ ":
            y_lines += x_lines[here:there]
        if sign == "= ":
            y_lines.append(rest)
        here = there if sign == "@ " else there + 1
    return y_lines + x_lines[here:]


def _line_edit(x_lines: list[str], y_lines: list[str]) -> list[str]:
    before = _places_before(x_lines)
    edit: list[str] = []
    here = 0
    for i, j, k, m in changed_ranges(x_lines, y_lines):
        edit += _way(x_lines, before, here, i, keeps=i == j)
        edit += _removal(x_lines, before, i, j)
        edit += [f"+ {line}" for line in y_lines[k:m]]
        here = j
    return edit


def _way(x_lines: list[str], before: list[int], here: int, there: int, keeps: bool) -> list[str]:
    """The lines of an edit that lead from ``here`` to ``there``, as few as there can be.

    A line of x can be named from ``here`` where no line like it stands between. Any other is named from behind a kept
    line that stands after that one; of those the one is taken that can be named from furthest above.

    Args:
        x_lines: the state.
        before: for each line of x, where the line before it stands that reads the same.
        here: the line of x before which the edit stands.
        there: the line of x before which it shall stand.
        keeps: whether nothing is removed there, so that ``there`` must be reached by its line above.
    """
    if here == there:
        return []
    if there == len(x_lines):
        return ["@ end"]
    way: list[int] = []
    nearest = there
    if keeps:
        way, nearest = [there - 1], there - 1
    while before[nearest] >= here:
        if len(way) == _MAX_CONTEXT:
            return [f"@ {there}"]
        between = range(nearest - 1, before[nearest] - 1, -1)
        nearest = min(between, key=lambda place: max(before[place], here - 1))
        way.append(nearest)
    return [f"= {x_lines[place]}" for place in reversed(way)]


def _removal(x_lines: list[str], before: list[int], start: int, stop: int) -> list[str]:
    """The lines of an edit that remove a run of x: the first tells the place, then long spans go by their last line."""
    edit = [f"- {line}" for line in x_lines[start : min(start + 1, stop)]]
    here = start + len(edit)
    for _ in range(_MAX_SPANS):
        ends = range(stop - 1, here + _LEAST_SPAN - 2, -1)
        end = next((place for place in ends if before[place] < here), None)
        if end is None:
            break
        edit.append(f"~ {x_lines[end]}")
        here = end + 1
    return edit + [f"- {line}" for line in x_lines[here:stop]]


def _places_before(lines: list[str]) -> list[int]:
    """For each line, where the line before it stands that reads the same; -1 where there is none."""
    last: dict[str, int] = {}
    places = []
    for i, line in enumerate(lines):
        places.append(last.get(line, -1))
        last[line] = i
    return places
