"""The grammar of actions: an operation on an element, with an argument.

    CLICK <button id=go> Search
    TYPE <input name=q> = running shoes
    SELECT <select id=size> (2 of 3) = Large

The element is the line by which the page shows it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ELEMENT = re.compile(r"""<(?:[^<>"]|"[^"]*")*>""")  # a tag; what stands in double quotes may hold < and >


@dataclass(frozen=True, slots=True)
class Operation:
    """An action in its parts; two parts are the same where they are equal.

    Args:
        name: what is done.
        element: what it is done to; empty for nothing in particular.
        arguments: what it is done with; None where it needs nothing.
    """

    name: str
    element: str = ""
    arguments: object = None

    def __str__(self) -> str:
        action = " ".join(filter(None, (self.name, self.element)))
        return action if self.arguments is None else f"{action} = {self.arguments}"


def parse_operation(action: str) -> Operation:
    """Take an action apart; any text has parts, of which some may be empty.

    The argument stands behind the first `` = `` after the element's tag, so that it may hold anything. Runs of spaces
    count as one.
    """
    name, _, rest = " ".join(action.split()).partition(" ")
    tag = _ELEMENT.match(rest)
    start = tag.end() if tag else 0
    text, sign, value = f"{rest[start:]} ".partition(" = ")
    return Operation(name, (rest[:start] + text).strip(), value.strip() if sign else None)
