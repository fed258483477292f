"""Tools in text: their documentation, and the results of their calls."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

WIDTH = 100  # characters of JSON that may stand on one line
DEPTH = 8  # of a schema; what lies deeper, or refers to itself, is left out
EMPTY_PLANES = "\U00040000"
Detail = Literal["full", "short"]


@dataclass(frozen=True)
class Tool:
    """A tool of a Model Context Protocol server.

    Args:
        name: what it is called by.
        description: what the server says of it.
        schema: JSON schema of its arguments.
        read_only: whether the server says that it changes nothing.
        dangers: ``destructive``, ``open-world`` or both, where the server does not rule them out.
    """

    name: str
    description: str
    schema: Mapping[str, Any]
    read_only: bool = False
    dangers: tuple[str, ...] = ()


def pretty(value: Any, depth: int = 0) -> str:
    """JSON with one key or element of the outermost container a line; an inner one is broken where it is too wide.

    ``json.loads`` gives the value back.
    """
    text = write_json(value)
    if not isinstance(value, dict | list) or not value or (depth and len(text) <= WIDTH):
        return text
    if isinstance(value, dict):
        items = [f"{write_json(key)}: {pretty(item, depth + 1)}" for key, item in value.items()]
    else:
        items = [pretty(item, depth + 1) for item in value]
    pad, (first, last) = " " * depth, "{}" if isinstance(value, dict) else "[]"
    return first + "\n" + ",\n".join(f"{pad} {item}" for item in items) + f"\n{pad}{last}"


def write_json(value: Any) -> str:
    """JSON on one line.

    In ASCII where the value has half a surrogate pair, which no file could hold, or a number from the planes of Unicode
    that have no characters: those come of binary data, and SmolLM's tokenizer, for one, loses them.
    """
    text = json.dumps(value, ensure_ascii=False)
    return text if _is_unicode(text) and max(text) < EMPTY_PLANES else json.dumps(value)


def result_block(text: str) -> str:
    """A result: JSON objects and lists broken into lines, any other text as it stands."""
    try:
        value = json.loads(text, object_pairs_hook=_distinct)
        if isinstance(value, dict | list):
            return pretty(value)
    except (ValueError, RecursionError):
        pass
    return text if _is_unicode(text) else text.encode("utf-8", "replace").decode()


def document(tool: Tool, detail: Detail) -> str:
    """What a model is told of a tool: its signature and, in full, what the server says of it and its arguments.

    ``read(path: string, head?: integer = 5)``: a question mark for what may be left out, ``=`` before a default.
    """
    lines = [f"{tool.name}({_fields(tool.schema, tool.schema)})"]
    if detail == "full":
        described = [("", tool.description), *_descriptions(tool.schema, tool.schema)]
        lines += [f" {name}{' '.join(text.split())}" for name, text in described if text.strip()]
    return "\n".join(lines)


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


def _fields(schema: Any, root: Mapping[str, Any], depth: int = 0) -> str:
    schema = resolve(schema, root)
    required = schema.get("required") or ()
    words = []
    for name, part in properties(schema).items():
        part = resolve(part, root)
        default = f" = {write_json(part['default'])}" if part.get("default") is not None else ""
        words.append(f"{name}{'' if name in required else '?'}: {_type(part, root, depth + 1)}{default}")
    return ", ".join(words)


def _type(schema: Any, root: Mapping[str, Any], depth: int) -> str:
    schema = resolve(schema, root)
    options = schema.get("anyOf") or schema.get("oneOf")
    if depth > DEPTH:
        return "any"
    if options:
        return " | ".join(_type(option, root, depth + 1) for option in options)
    if "const" in schema or "enum" in schema:
        return " | ".join(write_json(value) for value in schema.get("enum") or [schema.get("const")])
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " | ".join(map(str, kind))
    if kind == "array":
        return f"[{_type(schema.get('items', {}), root, depth + 1)}]"
    if kind == "object" and properties(schema):
        return "{" + _fields(schema, root, depth) + "}"
    bounds = schema.get("minimum"), schema.get("maximum")
    span = f" {'' if bounds[0] is None else bounds[0]}..{'' if bounds[1] is None else bounds[1]}"
    return str(schema.get("format") or kind) + (span if bounds != (None, None) else "")


def _descriptions(schema: Any, root: Mapping[str, Any], path: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """``path: `` and the description of each argument, the nested ones after the one that holds them."""
    schema = resolve(schema, root)
    if depth > DEPTH:
        return
    if path and isinstance(schema.get("description"), str):
        yield f"{path}: ", schema["description"]
    for name, part in properties(schema).items():
        yield from _descriptions(part, root, f"{path}.{name}" if path else name, depth + 1)
    if "items" in schema:
        items = {key: value for key, value in resolve(schema["items"], root).items() if key != "description"}
        yield from _descriptions(items, root, path, depth + 1)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; one with a key that stands twice stays text, as writing it anew would lose one of them."""
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError
    return found
