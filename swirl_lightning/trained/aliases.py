"""YAML files that are small on disk and endless once their aliases are written out."""

from __future__ import annotations

import math
from itertools import chain
from pathlib import Path

import yaml

from swirl_lightning.types import InputError

MOST_NODES = 100_000
"""Of a configuration with its aliases written out; the largest that comes with the project has about 100."""


def check_aliases(path: Path) -> None:
    """Refuse a YAML file that is small on disk and endless once its aliases are written out.

    Raises:
        InputError: an alias stands within what it names, or they multiply to more than ``MOST_NODES`` values.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    except RecursionError as error:
        raise InputError(f"{path}: found values within values without an end, expected a configuration") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return  # which the parser tells
    sizes: dict[int, float] = {}

    def size(node: yaml.Node | None) -> float:
        if not isinstance(node, yaml.CollectionNode):
            return 1
        if id(node) not in sizes:
            sizes[id(node)] = math.inf  # until all that it holds is known: whoever asks now stands within it
            parts = chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
            sizes[id(node)] = 1 + sum(map(size, parts))
        return sizes[id(node)]

    if (found := size(root)) > MOST_NODES:
        what = "an alias within what it names" if math.isinf(found) else f"{found:.0f} values with aliases written out"
        raise InputError(f"{path}: found {what}, expected at most {MOST_NODES}; write out what you need")
