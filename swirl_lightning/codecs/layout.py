"""The words around states and actions."""

from __future__ import annotations

from dataclasses import dataclass

from swirl_lightning.types import InputError


@dataclass(frozen=True, slots=True)
class Layout:
    """The words around x, z and y; the same for both roles.

    Args:
        start: before the state.
        action: between what comes before the action and the action.
        next_state: between what comes before the next state (or the change) and it.
    """

    start: str = "State:\n"
    action: str = "\nAction:"
    next_state: str = "\nChange:\n"

    def __post_init__(self) -> None:
        for name, words in zip(("start", "action", "next_state"), self.markers, strict=True):
            if not isinstance(words, str):
                raise InputError(f"layout.{name}: found {words}, expected words, or '' for none")

    @property
    def markers(self) -> tuple[str, str, str]:
        """The three strings, in the order of the fields."""
        return self.start, self.action, self.next_state
