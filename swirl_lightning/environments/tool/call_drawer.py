"""Draws the arguments of tool calls from their JSON schemas, so that later calls speak of what earlier ones made."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from swirl_lightning.environments.tool.documentation import Tool
from swirl_lightning.environments.tool.pattern import matches
from swirl_lightning.environments.tool.schema import DEPTH, choices, properties, resolve
from swirl_lightning.environments.tool.valid import problem
from swirl_lightning.types import InputError

REUSE = 0.75  # chance that a value is one that the episode has seen, where it has seen any that fits
OPTIONAL = (0.25, 0.25, 0.5, 1.0, 0.0)  # chance that an argument is given that could be left out, try by try
TRIES = 20  # to draw arguments that follow the schema, the last half of them without what was seen
MOST_VALUES = 1000  # in the arguments of a call
MOST_CHARS = 10_000  # that a text may have to have at least
MOST_SEEN = 1000  # values of a field that are kept in mind
DEEPEST = 3 * DEPTH  # where even what must be there is left out
LONGEST = 80  # characters of a text that is worth speaking of again
WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbor")
FILES = ("notes.txt", "plan.md", "list.csv", "data", "data/notes.txt", "archive")
PATH_WORDS = {"path", "file", "filename", "directory", "folder", "dir", "source", "destination"}
SMALL_WORDS = {"a", "an", "and", "as", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with"}
CODES = (
    "a",
    "A",
    "AB",
    "ABC",
    "A1",
    "abc",
    "1",
    "12",
    "123",
    "1234",
    "12345",
    "1.0",
    "1.0.0",
    "en",
    "en-US",
    "#a1b2c3",
)
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
POOL = (*CODES, *(value for values in FORMATS.values() for value in values))
KINDS = {  # of a schema that does not say it, by what it says
    **dict.fromkeys(("properties", "required", "minProperties", "additionalProperties", "patternProperties"), "object"),
    **dict.fromkeys(("items", "prefixItems", "minItems", "maxItems", "contains", "uniqueItems"), "array"),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), "number"),
}
DESCRIBED = {  # formats that a description spells out
    "HH:MM": ("08:30", "12:00", "23:45"),
    "YYYY-MM-DD": FORMATS["date"],
    "ISO 8601": FORMATS["date-time"],
}
_QUOTED = re.compile(r"""(?<!\w)(['"`])([^'"`\n]{1,40})\1(?!\w)""")

Words = tuple[str, ...]


class Unfit(InputError):
    """No call of a tool can be drawn from its schema."""


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
        self._optional = OPTIONAL[0]
        self._reuses = True
        self._left = MOST_VALUES
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
        """Arguments for a call of the tool, which follow its schema.

        Raises:
            Unfit: none were found.
        """
        said = ""
        for number in range(TRIES):
            self._optional, self._reuses = OPTIONAL[number % len(OPTIONAL)], number < TRIES // 2
            self._left = MOST_VALUES
            try:
                drawn = self._draw(tool.schema, tool.schema, (), 0)
                arguments = drawn if isinstance(drawn, dict) else {}
                said = problem(arguments, tool.schema)
            except Exception as error:  # the schema is a stranger's, and can be wrong in any way
                said = f"{type(error).__name__}: {error}"
            else:
                if not said:
                    return arguments
        raise Unfit(f"{tool.name}: no arguments were found that follow its schema ({' '.join(said.split()):.200})")

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
            if len(seen) < MOST_SEEN and value not in seen:
                seen.append(value)
                self._failed.clear()

    def _draw(self, schema: Any, root: Mapping[str, Any], field: Words, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise Unfit(f"a call needs more than {MOST_VALUES} values")
        schema = resolve(schema, root)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._rng.choice(list(schema["enum"]))
        rest, branches = choices(schema)
        if rest is not schema:
            some = [branch for branch in branches if (resolve(branch, root).get("type") == "null") == (depth >= DEPTH)]
            return self._draw({"allOf": [self._rng.choice(some or branches), rest]}, root, field, depth + 1)
        kind = schema.get("type") or next((kind for key, kind in KINDS.items() if key in schema), "string")
        if isinstance(kind, list):
            some = [each for each in kind if (each == "null") == (depth >= DEPTH)]
            kind = self._rng.choice(some or kind or ["null"])
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
        parts, others = properties(schema), schema.get("additionalProperties")
        drawn = {}
        for name, part in parts.items():
            given = depth < DEEPEST if name in required else depth < DEPTH and self._rng.random() < self._optional
            if given and part is not False:
                drawn[name] = self._draw(part, root, field_words(name), depth + 1)
        unnamed = [name for name in (*required, *WORDS) if name not in parts]
        for name in unnamed:
            if name in required or len(drawn) < schema.get("minProperties", 0):
                drawn[name] = self._draw(others, root, field_words(name), depth + 1)
        return drawn

    def _array(self, schema: Mapping[str, Any], root: Mapping[str, Any], field: Words, depth: int) -> list[Any]:
        items, first = schema.get("items"), schema.get("prefixItems") or ()
        if isinstance(items, list):  # as drafts before 2020 write it
            items, first = schema.get("additionalItems"), items
        low = schema.get("minItems", 1 if depth < DEPTH else 0)
        high = schema.get("maxItems", len(first) if first and items is False else math.inf)
        count = min(max(low, len(first)) + (self._rng.choice((0, 0, 1)) if depth < DEPTH else 0), high)
        described = {"description": schema.get("description", "")}
        parts = [{"allOf": [part, described]} for part in first]
        if contained := schema.get("contains"):
            parts.append({"allOf": [items, contained, described]})
        drawn: list[Any] = []
        tries = 0
        while len(drawn) < count and tries < 2 * count + len(WORDS):
            part = parts[len(drawn)] if len(drawn) < len(parts) else {"allOf": [items, described]}
            item = self._draw(part, root, field, depth + 1)
            tries += 1
            if item not in drawn or (len(drawn) < low and not schema.get("uniqueItems")):
                drawn.append(item)
            elif not schema.get("uniqueItems"):
                break
        return drawn

    def _scalar(self, schema: Mapping[str, Any], kind: str, field: Words) -> Any:
        def fits(value: Any) -> bool:
            return (_is_text if kind == "string" else _is_number)(value, schema)

        seen = [value for value in self._matching(self._seen, schema, field) if fits(value)]
        if self._reuses and seen and self._rng.random() < REUSE:
            return self._rng.choice(seen)
        if given := [value for value in self._matching(self._values, schema, field) if fits(value)]:
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
        if (low := schema.get("minLength", 0)) > MOST_CHARS:
            raise Unfit(f"a text of at least {low} characters")
        words = [((word + " ") * (1 + low // (len(word) + 1)))[: max(low, len(word))] for word in WORDS]
        words = [word[: schema.get("maxLength", len(word))] for word in words]
        fitting = [word for word in words if fits(word)]
        return self._rng.choice(fitting or [value for value in POOL if fits(value)] or words)

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
    return matches(schema["pattern"], value) if "pattern" in schema else True


def _is_number(value: Any, schema: Mapping[str, Any]) -> bool:
    if type(value) not in (int, float) or value % schema.get("multipleOf", 1):
        return False
    return bool(
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and schema.get("exclusiveMinimum", -math.inf) < value < schema.get("exclusiveMaximum", math.inf)
    )
