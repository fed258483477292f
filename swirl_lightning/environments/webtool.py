"""Web pages and tool calls in one run."""

from __future__ import annotations

from typing import Any

from swirl_lightning.environments.mixture import MixtureDataModule
from swirl_lightning.environments.tool import ToolDataModule
from swirl_lightning.environments.web import WebDataModule


class WebToolDataModule(MixtureDataModule):
    """The environments ``web`` and ``tool``, each with its own prompts and metrics.

    Args:
        web: the pages.
        tool: the calls.
        kwargs: weights, batch sizes and seed, as in ``MixtureDataModule``.
    """

    def __init__(self, web: WebDataModule, tool: ToolDataModule, **kwargs: Any) -> None:
        super().__init__({"web": web, "tool": tool}, **kwargs)
