"""Whether arguments follow a schema (package ``jsonschema``), in bounded time and without asking other places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from swirl_lightning.environments.tool.pattern import matches

MOST_STEPS = 10_000  # applications of a keyword of the schema


class _Steps:
    left = MOST_STEPS


def problem(arguments: dict[str, Any], schema: Mapping[str, Any]) -> str:
    """What is wrong with the arguments; empty where nothing is.

    Raises:
        Exception: of many kinds, where the schema itself is wrong.
    """
    import jsonschema
    from referencing import Registry

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    _Steps.left = MOST_STEPS
    validator = _bounded(kind)(dict(schema), registry=Registry())  # which fetches nothing
    found = next(validator.iter_errors(arguments), None)
    return "" if found is None else f"{found.json_path}: {found.message}"


@cache
def _bounded(kind: Any) -> Any:
    """A validator whose steps are counted, and whose patterns have a time limit."""
    from jsonschema.validators import extend

    own = {name: _counted(check) for name, check in kind.VALIDATORS.items()}
    return extend(kind, own | {"pattern": _pattern, "patternProperties": _pattern_properties})


def _counted(check: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    def counted(*args: Any) -> Iterator[Any]:
        _Steps.left -= 1
        if _Steps.left < 0:
            raise ValueError(f"takes more than {MOST_STEPS} steps to check")
        yield from check(*args) or ()

    return counted


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(value, str) and not matches(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, parts: Mapping[str, Any], value: Any, schema: Any) -> Iterator[Any]:
    for pattern, part in parts.items():
        for name, inner in value.items() if isinstance(value, dict) else ():
            if matches(pattern, name):
                yield from validator.descend(inner, part, path=name, schema_path=pattern)
