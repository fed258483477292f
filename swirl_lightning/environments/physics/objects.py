"""The grammar of worlds of objects: one fact a line.

The objects are those of ByteSized32-State-Prediction (arXiv 2406.06485): each has a name that ends in its ID, a type,
properties and the names of what it contains. As sorted, distinct lines::

    battery (ID: 6) connects.anode = ["red wire (ID: 3)", "terminal2"]
    battery (ID: 6) is Battery
    light bulb (ID: 2) on = false
    room (ID: 1) contains battery (ID: 6)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

Object = dict[str, Any]

_NAME = r".+? \(ID: (?:0|[1-9][0-9]{0,11})\)"
_FACT = re.compile(rf"({_NAME}) (?:is (?P<type>\S+)|contains (?P<inside>{_NAME})|(?P<path>\S+) = (?P<value>.+))")


def write_objects(objects: Sequence[Object]) -> str:
    """The objects as sorted fact lines.

    Args:
        objects: each with ``name``, ``uuid``, ``type``, ``properties`` and ``contains``.

    Returns:
        The text: ``read_objects`` gives the objects back, but for the order of those that an object contains.

    Raises:
        ValueError: a name, a type, a property or a value could not be read back.
    """
    text = "\n".join(sorted(line for it in objects for line in _facts(it)))
    if read_objects(text) != {it["uuid"]: {**it, "contains": sorted(it["contains"])} for it in objects}:
        raise ValueError("the objects cannot be told from their facts: names must be distinct and end in '(ID: uuid)'")
    return text


def read_objects(text: str) -> dict[int, Object] | None:
    """The objects by their ID, ``contains`` in sorted order; None where a line is no fact or says it twice.

    Never raises: it reads what a model wrote. An object of which no line tells the type has the type "".
    """
    objects: dict[int, Object] = {}
    for line in text.split("\n") if text else ():
        fact = _FACT.fullmatch(line)
        if fact is None:
            return None
        name = fact[1]
        uuid = _id_of(name)
        it = objects.setdefault(uuid, {"name": name, "uuid": uuid, "type": "", "properties": {}, "contains": []})
        if it["name"] != name or not _add(it, fact):
            return None
    for it in objects.values():
        it["contains"].sort()
    return objects


def _facts(it: Object) -> Iterator[str]:
    name = it["name"]
    yield f"{name} is {it['type']}"
    for inside in it["contains"]:
        yield f"{name} contains {inside}"
    for path, value in _leaves(it["properties"]):
        yield f"{name} {'.'.join(path)} = {json.dumps(value, ensure_ascii=False)}"


def _leaves(properties: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in properties.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _add(it: Object, fact: re.Match[str]) -> bool:
    """Whether the fact is new and readable; then it is part of the object."""
    if kind := fact["type"]:
        is_new = not it["type"]
        it["type"] = kind
        return is_new
    if inside := fact["inside"]:
        is_new = inside not in it["contains"]
        it["contains"].append(inside)
        return is_new
    *path, key = fact["path"].split(".")
    place = it["properties"]
    for step in path:
        place = place.setdefault(step, {})
        if not isinstance(place, dict):
            return False
    try:
        value = json.loads(fact["value"])
    except (ValueError, RecursionError):
        return False
    is_new = key not in place
    place[key] = value
    return is_new


def _id_of(name: str) -> int:
    return int(name[name.rindex(":") + 1 : -1])
