"""Worlds of objects as text, one fact a line, and how many predicted worlds are right (arXiv 2406.06485).

The objects are those of ByteSized32-State-Prediction: each has a name that ends in its ID, a type, properties and the
names of what it contains. As sorted, distinct lines::

    battery (ID: 6) connects.anode = ["red wire (ID: 3)", "terminal2"]
    battery (ID: 6) is Battery
    light bulb (ID: 2) on = false
    room (ID: 1) contains battery (ID: 6)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from swirl_lightning.metrics.base import PredictionMetric
from swirl_lightning.types import Prediction, Transition

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


class StateAccuracy(PredictionMetric):
    """Share of right next states, in [0, 1], as ByteSized32-State-Prediction counts them (arXiv 2406.06485, section 4).

    A next state is right where every object of the true one is in it with all its properties, each equal, and with
    the same things inside in any order. What a prediction has besides is no error, as in the benchmark's script.

    Args:
        of: ``dynamic`` counts only the transitions in which an object changes, ``static`` only the others.
    """

    def __init__(self, of: Literal["all", "dynamic", "static"] = "all") -> None:
        super().__init__()
        self.of = of

    def update(self, transitions: Sequence[Transition], predictions: Sequence[Prediction]) -> None:
        """Adds N labelled transitions with what was said of them; a next state that is None or unreadable scores 0.

        Raises:
            ValueError: a true state is not made of facts.
        """
        scores = []
        for t, prediction in zip(transitions, predictions, strict=True):
            before, after = read_objects(t.state), read_objects(t.next_state)
            if before is None or after is None:
                raise ValueError(f"episode {t.episode!r} step {t.step}: expected facts of objects")
            is_static = _holds(before, after) and _holds(after, before)
            if self.of in ("all", "static" if is_static else "dynamic"):
                said = None if prediction.next_state is None else read_objects(prediction.next_state)
                scores.append(float(said is not None and _holds(after, said)))
        self.add(scores)


def _holds(target: dict[int, Object], found: dict[int, Object]) -> bool:
    return all(
        uuid in found
        and it["contains"] == found[uuid]["contains"]
        and all(found[uuid]["properties"].get(key, ...) == value for key, value in it["properties"].items())
        for uuid, it in target.items()
    )


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
