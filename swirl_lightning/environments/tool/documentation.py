"""The grammar of documentation: what a model is told of a tool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from swirl_lightning.environments.tool.result import write_json
from swirl_lightning.environments.tool.schema import DEPTH, properties, resolve

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


def document(tool: Tool, detail: Detail) -> str:
    """What a model is told of a tool: its signature and, in full, what the server says of it and its arguments.

    ``read(path: string, head?: integer = 5)``: a question mark for what may be left out, ``=`` before a default.
    """
    lines = [f"{tool.name}({_fields(tool.schema, tool.schema)})"]
    if detail == "full":
        described = [("", tool.description), *_descriptions(tool.schema, tool.schema)]
        lines += [f" {name}{' '.join(text.split())}" for name, text in described if text.strip()]
    return "\n".join(lines)


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
