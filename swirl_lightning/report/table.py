"""The before/after table of a run as plain text, for the terminal."""

from __future__ import annotations

import textwrap

from swirl_lightning.report.gains import compare, duration, fixed
from swirl_lightning.report.run import Row

WIDTH = 80


def gain_table(results: Row) -> str:
    """Held-out metrics before (first measured stage) and after (last one), their difference, and what it took.

    Args:
        results: the content of results.json.

    Returns:
        Lines of at most 80 columns, without a newline at the end.
    """
    comparison = compare(results)
    if comparison.before is None:
        return "No stage has been measured yet."
    rows = [("", "before", "after", ""), ("", comparison.before, comparison.after or "-", "difference")]
    role, width = "", max((len(gain.role) for gain in comparison.gains), default=0) + 1
    for gain in comparison.gains:
        head = "" if gain.role == role else gain.role.upper()
        role = gain.role
        values = fixed(gain.before), fixed(gain.after), fixed(gain.difference, sign=True)
        rows.append((f"{head:<{width}}{gain.label}", *values))
    first = max(len(row[0]) for row in rows)
    longest = max(len(cell) for row in rows for cell in row[1:])
    room = min(longest, max(10, (WIDTH - first) // 3 - 2))  # a long stage name is cut, the table does not wrap
    lines = [f"{row[0]:<{first}}" + "".join(f"  {cell[:room]:>{room}}" for cell in row[1:]) for row in rows]
    lines.insert(2, "-" * len(lines[1]))
    if comparison.after is None:
        closing = f"Only {comparison.before} has been measured: there is nothing to compare yet."
    else:
        path = " > ".join(comparison.path)
        closing = f"{comparison.updates} updates in {duration(comparison.seconds)}: {path}"
    return "\n".join(line.rstrip() for line in [*lines, "", *textwrap.wrap(closing, WIDTH)])
