"""Names that a package imports on first use (PEP 562): a world's collector must not wait for what its data needs."""

from collections.abc import Callable, Collection
from importlib import import_module
from typing import Any


def on_first_use(package: str, module: str, names: Collection[str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package that offers names of one of its modules."""

    def get(name: str) -> Any:
        if name in names:
            return getattr(import_module(f"{package}.{module}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get
