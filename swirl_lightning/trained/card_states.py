"""What a model card says that depends on what states are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from swirl_lightning.modules import SWIRL
from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.trained.facts import Facts


class Words(NamedTuple):
    """The words of a layout, as Python.

    Args:
        begin: what makes the first ids of a prompt.
        action: the literal of what stands before an action.
        next_state: of what stands before a next state.
    """

    begin: str
    action: str
    next_state: str


class StateCard(ABC):
    """The parts of a card, and of ``swirl.json``, for one kind of state.

    Args:
        model: of the run.
    """

    def __init__(self, model: SWIRL) -> None:
        self.model = model

    @abstractmethod
    def form(self, role: GRPOMixin) -> str:
        """What a state is, and what the role reads or writes of a next state."""

    @abstractmethod
    def snippet(self, role: GRPOMixin, facts: Facts) -> str:
        """Python that asks the role, without this project."""

    def layouts(self) -> str:
        """Where the words of a prompt stand besides."""
        layouts = self.model.layouts
        names = [name for name in layouts if name]
        if len(names) < 2:
            return "`swirl.json` in the folder above says the same to programs."
        rows = [f"| {name} | " + " | ".join(f"`{m!r}`" for m in layouts[name].markers) + " |" for name in names]
        return f"The words above are those of {names[0]}:\n\n" + "\n".join(
            ["| environment | start | action | next state |", "| --- | --- | --- | --- |", *rows]
        )

    def description(self) -> dict[str, Any]:
        """How a program asks, for ``swirl.json``."""
        return {
            "layouts": {
                name: dict(zip(("start", "action", "next_state"), layout.markers, strict=True))
                for name, layout in self.model.layouts.items()
            }
        }

    def words(self) -> Words:
        """Those of the first environment."""
        model, tokenizer = self.model, self.model.codec.tokenizer
        environment = next(filter(None, model.layouts), "")
        start, action, next_state = (repr(marker) for marker in model.layouts[environment].markers)
        bos = tokenizer.bos_token_id
        begins = bos is not None and model.codec.prompts(environment).fwm[0][:1] == (bos,)
        return Words(f"[{bos}] + words({start})" if begins else f"words({start})", action, next_state)
