"""Draws the arguments of tool calls from their JSON schemas, so that later calls speak of what earlier ones made."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from swirl_lightning.environments.tool.documentation import Tool
from swirl_lightning.environments.tool.schema import DEPTH, properties, resolve

REUSE = 0.75  # chance that a value is one that the episode has seen, where it has seen any that fits
OPTIONAL = 0.25  # chance that an argument is given that could be left out
LONGEST = 80  # characters of a text that is worth speaking of again
WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbor")
FILES = ("notes.txt", "plan.md", "list.csv", "data", "data/notes.txt", "archive")
PATH_WORDS = {"path", "file", "filename", "directory", "folder", "dir", "source", "destination"}
SMALL_WORDS = {"a", "an", "and", "as", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with"}
FORMATS = {
    "date": ("2024-01-15", "2024-02-29", "2025-07-04"),
    "date-time": ("2024-01-15T08:30:00Z", "2024-02-29T12:00:00Z", "2025-07-04T23:59:59Z"),
    "time": ("08:30:00", "12:00:00", "23:59:59"),
    "duration": ("PT5M", "PT1H", "P1D"),
    "email": ("ada@example.org", "bo@example.org"),
    "uri": ("https://example.org/a", "https://example.org/b"),
    "url": ("https://example.org/a", "https://example.org/b"),
    "hostname": ("example.org", "example.com"),
    "ipv4": ("192.0.2.1", "192.0.2.7"),
    "ipv6": ("2001:db8::1", "2001:db8::7"),
    "uuid": ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"),
}
DESCRIBED = {  # formats that a description spells out
    "HH:MM": ("08:30", "12:00", "23:45"),
    "YYYY-MM-DD": FORMATS["date"],
    "ISO 8601": FORMATS["date-time"],
}
_QUOTED = re.compile(r"""(?<!\w)(['"`])([^'"`\n]{1,40})\1(?!\w)""")

Words = tuple[str, ...]


def field_words(name: str) -> Words:
    """The words of a field's name, in lower case and without a plural s: ``entityNames`` is entity, name."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", " ", name).lower().split()
    return tuple(word[:-1] if word.endswith("s") and not word.endswith("ss") else word for word in words)


class CallDrawer:
    """Draws calls in one episode, from a seeded generator and what the episode has seen.

    A field is filled, in this order: by a constant or one of an enumeration; by a value that the episode has seen in
    a field of that name (``name`` is also ``names`` and ``entityName``) or one that its description names; by the
    user's values for such a field; by the schema's bounds, examples, default and format; by what its description
    spells out or quotes; by a word from a small pool.

    Args:
        rng: where all randomness comes from.
        values: what fields may hold, by name.
        folder: what file names stand under; null where the server has no folder.
    """

    def __init__(self, rng: random.Random, values: Mapping[str, Sequence[Any]], folder: str | None) -> None:
        self._rng = rng
        self._values = {field_words(name): list(its) for name, its in values.items()}
        self._folder = folder
        self._seen: dict[Words, list[Any]] = {}
        self._failed: set[str] = set()

    def choose(self, tools: Sequence[Tool]) -> Tool:
        """A tool that can be expected to answer well, if there is any.

        As long as nothing has been seen it is one that writes, for there is nothing to read. One that answered with an
        error waits until something new has been seen.
        """
        ready = [tool for tool in tools if tool.name not in self._failed]
        writing = [tool for tool in ready if not tool.read_only]
        return self._rng.choice((ready if self._seen else writing or ready) or tools)

    def fail(self, tool: str) -> None:
        """Keep in mind that a call of the tool was answered with an error."""
        self._failed.add(tool)

    def arguments(self, tool: Tool) -> dict[str, Any]:
        """Arguments for a call of the tool."""
        drawn = self._draw(tool.schema, tool.schema, (), 0)
        return drawn if isinstance(drawn, dict) else {}

    def remember(self, value: Any, field: Words = ()) -> None:
        """Keep the short texts and whole numbers in arguments or in a result, by the names of their fields."""
        if isinstance(value, dict):
            for name, inner in value.items():
                self.remember(inner, field_words(str(name)))
        elif isinstance(value, list):
            for inner in value:
                self.remember(inner, field)
        elif field and (type(value) is int or (isinstance(value, str) and 0 < len(value) <= LONGEST)):
            seen = self._seen.setdefault(field, [])
            if value not in seen:
                seen.append(value)
                self._failed.clear()

    def _draw(self, schema: Any, root: Mapping[str, Any], field: Words, depth: int) -> Any:
        schema = resolve(schema, root)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._rng.choice(list(schema["enum"]))
        if branches := schema.get("anyOf") or schema.get("oneOf"):
            read = [resolve(branch, root) for branch in branches]
            some = [branch for branch in read if branch.get("type") != "null"] or read
            described = {"description": schema.get("description", "")}
            return self._draw({**described, **self._rng.choice(some)}, root, field, depth + 1)
        kind = schema.get("type") or ("object" if properties(schema) else "string")
        if isinstance(kind, list):
            kind = self._rng.choice([each for each in kind if each != "null"] or ["null"])
        if kind == "object":
            return self._object(schema, root, depth)
        if kind == "array":
            return self._array(schema, root, field, depth)
        if kind == "boolean":
            return self._rng.random() < 0.5
        if kind == "null":
            return None
        return self._scalar(schema, str(kind), field)

    def _object(self, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> dict[str, Any]:
        required = schema.get("required") or ()
        drawn = {}
        for name, part in properties(schema).items():
            if depth < DEPTH and (name in required or self._rng.random() < OPTIONAL):
                drawn[name] = self._draw(part, root, field_words(name), depth + 1)
        return drawn

    def _array(self, schema: Mapping[str, Any], root: Mapping[str, Any], field: Words, depth: int) -> list[Any]:
        low = schema.get("minItems", 1)
        count = min(low + self._rng.choice((0, 0, 1)), schema.get("maxItems", low + 1)) if depth < DEPTH else low
        described = {"description": schema.get("description", "")}
        items = {**described, **resolve(schema.get("items"), root)}
        drawn: list[Any] = []
        for _ in range(count):
            item = self._draw(items, root, field, depth + 1)
            if item not in drawn or len(drawn) < low:
                drawn.append(item)
        return drawn

    def _scalar(self, schema: Mapping[str, Any], kind: str, field: Words) -> Any:
        def fits(value: Any) -> bool:
            return (_is_text if kind == "string" else _is_number)(value, schema)

        seen = [value for value in self._matching(self._seen, schema, field) if fits(value)]
        if seen and self._rng.random() < REUSE:
            return self._rng.choice(seen)
        if given := self._matching(self._values, schema, field):
            return self._rng.choice(given)
        return self._text(schema, field, fits) if kind == "string" else self._number(schema, kind)

    def _text(self, schema: Mapping[str, Any], field: Words, fits: Any) -> str:
        offered = [*(schema.get("examples") or ()), schema.get("default")]
        if pool := [value for value in offered if isinstance(value, str) and value and fits(value)]:
            return self._rng.choice(pool)
        if pool := [value for value in FORMATS.get(str(schema.get("format")), ()) if fits(value)]:
            return self._rng.choice(pool)
        if self._folder is not None and PATH_WORDS & set(field[-1:]):
            return f"{self._folder}/{self._rng.choice(FILES)}"
        description = str(schema.get("description", ""))
        spelt = [value for sign, values in DESCRIBED.items() if sign in description for value in values]
        quoted = [found[1] for found in _QUOTED.findall(description)]
        for pool in (spelt, quoted):
            if pool := [value for value in pool if fits(value)]:
                return self._rng.choice(pool)
        low = schema.get("minLength", 0)
        words = [((word + " ") * (1 + low // (len(word) + 1)))[: max(low, len(word))] for word in WORDS]
        words = [word[: schema.get("maxLength", len(word))] for word in words]
        return self._rng.choice([word for word in words if fits(word)] or words)

    def _number(self, schema: Mapping[str, Any], kind: str) -> int | float:
        step = schema.get("multipleOf", 1)
        low, high = schema.get("minimum"), schema.get("maximum")
        if low is None and "exclusiveMinimum" in schema:
            low = schema["exclusiveMinimum"] + (step if kind == "integer" else 1e-3)
        if high is None and "exclusiveMaximum" in schema:
            high = schema["exclusiveMaximum"] - (step if kind == "integer" else 1e-3)
        low = low if low is not None else min(1, high) if high is not None else 1
        high = high if high is not None else low + 9 * step
        first, last = math.ceil(low / step), math.floor(high / step)
        if first > last:  # no multiple lies between the bounds
            return round(self._rng.uniform(low, high), 3)
        # small numbers even where large ones are allowed: they are the ones that mean something
        return self._rng.randint(first, min(last, first + 20)) * step

    def _matching(self, known: Mapping[Words, list[Any]], schema: Mapping[str, Any], field: Words) -> list[Any]:
        """Values of fields whose name ends as this one's or this one's as theirs; else of those that it describes."""
        ends = [(name, min(len(name), len(field))) for name in known]
        if same := [value for name, n in ends if n and name[-n:] == field[-n:] for value in known[name]]:
            return same
        said = set(field_words(str(schema.get("description", ""))))
        return [value for name, its in known.items() if set(name) <= said - SMALL_WORDS for value in its]


def _is_text(value: Any, schema: Mapping[str, Any]) -> bool:
    longest = schema.get("maxLength", math.inf)
    if not isinstance(value, str) or not schema.get("minLength", 0) <= len(value) <= longest:
        return False
    try:
        return re.search(schema.get("pattern", ""), value) is not None
    except (re.error, TypeError):  # of another dialect
        return True


def _is_number(value: Any, schema: Mapping[str, Any]) -> bool:
    if type(value) not in (int, float) or value % schema.get("multipleOf", 1):
        return False
    return bool(
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and schema.get("exclusiveMinimum", -math.inf) < value < schema.get("exclusiveMaximum", math.inf)
    )
