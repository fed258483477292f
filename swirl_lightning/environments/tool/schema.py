"""Reads the JSON schema of a tool's arguments, which may refer to its own parts, be broken, or have no end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

DEPTH = 8  # of a schema; what lies deeper, or refers to itself, is left out


def resolve(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema with its ``$ref`` followed and its ``allOf`` merged; an empty one where it cannot be read.

    Where two parts say different things that no value can follow both of, the first one is heeded.
    """
    merged: dict[str, Any] = {}
    waiting, seen = [schema], set()
    while waiting:
        part = waiting.pop()
        if not isinstance(part, Mapping) or id(part) in seen:
            continue
        seen.add(id(part))
        parts = part.get("allOf")
        waiting += reversed(parts) if isinstance(parts, list) else ()
        if isinstance(ref := part.get("$ref"), str):
            waiting.append(_target(ref, root))
        merged = _both(merged, {key: value for key, value in part.items() if key not in ("$ref", "allOf")})
    return merged


def properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schemas of an object's fields, by name."""
    found = schema.get("properties")
    return found if isinstance(found, Mapping) else {}


def choices(schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Any]]:
    """Schemas of which a value follows one, and what it follows besides; no schemas where there is nothing to choose.

    Of a schema with several such lists it is the first; the others are in the rest.
    """
    for key in ("anyOf", "oneOf"):
        if isinstance(listed := schema.get(key), list) and listed:
            rest = {name: value for name, value in schema.items() if name != key}
            return rest, [branch for branch in listed if branch is not False]
    if "if" in schema:
        rest = {name: value for name, value in schema.items() if name not in ("if", "then", "else")}
        return rest, [{"allOf": [schema["if"], schema.get("then", {})]}, schema.get("else", {})]
    return schema, []


def size(schema: Any, root: Mapping[str, Any]) -> int:
    """How many parts a schema has to the depth that is read, each counted as often as it is met."""
    known: dict[tuple[int, int], int] = {}

    def count(part: Any, depth: int) -> int:
        if not isinstance(part, Mapping) or depth > DEPTH:
            return 1
        if (key := (id(part), depth)) not in known:
            read = resolve(part, root)
            _, branches = choices(read)
            inner = [*branches, *properties(read).values(), *(read[k] for k in ("items", "contains") if k in read)]
            known[key] = 1 + sum(count(each, depth + 1) for each in inner)
        return known[key]

    return count(schema, 0)


def _target(ref: str, root: Mapping[str, Any]) -> Any:
    """What a reference within the schema means; None for any other."""
    target: Any = root if ref.startswith("#") else None
    for key in ref.split("/")[1:]:
        if isinstance(target, list) and key.isdigit():
            target = dict(enumerate(target)).get(int(key))
        else:
            target = target.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(target, Mapping) else None
    return target


def _both(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """A schema for what follows both."""
    merged = {**second, **first}
    for key in first.keys() & second.keys() & MERGED.keys():
        merged[key] = MERGED[key](first[key], second[key])
    return merged


def _fields(first: Any, second: Any) -> Any:
    if not (isinstance(first, Mapping) and isinstance(second, Mapping)):
        return first
    shared = {name: {"allOf": [first[name], second[name]]} for name in first.keys() & second.keys()}
    return {**first, **second, **shared}


def _common(first: Any, second: Any) -> Any:
    """What stands in both, of lists or of single values."""
    firsts, seconds = (each if isinstance(each, list) else [each] for each in (first, second))
    if firsts == ["number"] and "integer" in seconds:
        return "integer"
    return [each for each in firsts if each in seconds] or first


def _joined(first: Any, second: Any) -> list[Any]:
    return list(dict.fromkeys([*first, *second]))


MERGED: dict[str, Callable[[Any, Any], Any]] = {
    "properties": _fields,
    "required": _joined,
    "type": _common,
    "enum": _common,
    "items": lambda first, second: {"allOf": [first, second]},
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), min),
}
