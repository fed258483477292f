"""Reads the JSON schema of a tool's arguments, which may refer to its own parts or be broken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEPTH = 8  # of a schema; what lies deeper, or refers to itself, is left out


def resolve(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Mapping[str, Any]:
    """The schema with its ``$ref`` followed and its ``allOf`` merged; an empty one where it cannot be read."""
    if not isinstance(schema, Mapping) or depth > DEPTH:
        return {}
    if isinstance(ref := schema.get("$ref"), str):
        target: Any = root
        for key in ref.split("/")[1:]:
            target = target.get(key) if isinstance(target, Mapping) else None
        own = {key: value for key, value in schema.items() if key != "$ref"}
        return {**resolve(target, root, depth + 1), **own}
    if isinstance(parts := schema.get("allOf"), list):
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        for part in (resolve(part, root, depth + 1) for part in parts):
            both = {**properties(merged), **properties(part)}
            needed = [*merged.get("required", ()), *part.get("required", ())]
            merged = {**part, **merged} | ({"properties": both, "required": needed} if both else {})
        return merged
    return schema


def properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schemas of an object's fields, by name."""
    found = schema.get("properties")
    return found if isinstance(found, Mapping) else {}
