"""Options of a class that are null and may not be: jsonargparse takes a null there for an option that was not given."""

from __future__ import annotations

import inspect
import sys
from types import NoneType
from typing import Any, get_args, get_type_hints

from jsonargparse import Namespace

from swirl_lightning.types import InputError


def check_nulls(value: Any, key: str = "") -> None:
    """Refuse null for options of the classes that a configuration names, where neither type nor default is null.

    Args:
        value: of the configuration, or of a part of it.
        key: of the part.

    Raises:
        InputError: one is null.
    """
    if isinstance(value, list):
        for entry in value:
            check_nulls(entry, key)
    if not isinstance(value, Namespace | dict):
        return
    items = vars(value) if isinstance(value, Namespace) else value
    if isinstance(path := items.get("class_path"), str) and isinstance(items.get("init_args"), Namespace):
        own, key = vars(items["init_args"]), key.removesuffix(".init_args")
        module, _, name = path.rpartition(".")
        kind = getattr(sys.modules.get(module), name, None)
        for option in (option for option, given in own.items() if given is None):
            if (told := _expected(kind, option)) is not None:
                raise InputError(f"{key}.{option}: found {told}")
    for name, entry in items.items():
        check_nulls(entry, key if name in ("init_args", "config") else f"{key}.{name}" if key else f"--{name}")


def _expected(kind: Any, option: str) -> str | None:
    """What was found and what an option of a class takes, if it cannot be null; None if it can, or nothing is known."""
    for owner in getattr(kind, "__mro__", ()):
        made = vars(owner).get("__init__")
        parameter = inspect.signature(made).parameters.get(option) if made else None
        if parameter is not None:
            break
    else:
        return None
    try:
        hint = get_type_hints(made)[option]
    except (NameError, KeyError, TypeError):  # a name that only a type checker sees, or no annotation
        return None
    words = inspect.formatannotation(hint).replace("typing.", "")
    if parameter.default is None or hint in (Any, object, NoneType) or {NoneType, None} & {*get_args(hint)}:
        return None
    expected = f"one of {', '.join(map(str, get_args(hint)))}" if words.startswith("Literal[") else words
    if parameter.default is parameter.empty:
        return f"nothing, expected {expected}; the option has no default, give it"
    return f"null, expected {expected}; leave the option out for its default"
