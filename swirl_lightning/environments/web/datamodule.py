"""Web pages: Mind2Web (arXiv 2306.06070), or what ``swirl collect web`` wrote (MiniWoB++, arXiv 1802.08802)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swirl_lightning.codecs import Layout
from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.environments.collection import RECORD, check_episodes, read_collection
from swirl_lightning.environments.splits import Fractions, Split
from swirl_lightning.environments.web.mind2web import TestSplit, read_mind2web
from swirl_lightning.environments.web.operation import operation_metrics
from swirl_lightning.metrics import PredictionMetric
from swirl_lightning.metrics.bertscore import BertScore
from swirl_lightning.metrics.rouge import RougeL
from swirl_lightning.types import InputError, Transition


class WebDataModule(TransitionDataModule):
    """States are pages, one element a line; actions click, type or select on an element. Reading needs no extra.

    The attribute ``splits`` records the split of each episode.

    Args:
        path: a folder that ``swirl collect web`` wrote, or the one with Mind2Web's ``data``.
        test: which of Mind2Web's test splits is the test split.
        budget: most tokens of a page of Mind2Web, as ``pages.count_tokens`` counts them: a tokenizer makes up to half
            as many again. A transition in delta form takes at most three pages, in full form two.
        fractions: of Mind2Web's training tasks, the share in labelled, state_only and validation; validation takes the
            last share too.
        encoder: a folder or a name of a model for BERTScore; null leaves BERTScore out.
        kwargs: arguments of ``TransitionDataModule``.
    """

    environment = "web"
    layout = Layout(start="Page:\n", action="\nAction:", next_state="\nChange:\n")

    def __init__(
        self,
        path: Path,
        test: TestSplit = "test_task",
        budget: int = 640,
        fractions: Fractions = (0.45, 0.45, 0.05, 0.05),
        encoder: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if budget < 1:
            raise InputError(f"data.budget: found {budget}, expected at least 1")
        self.path = Path(path)
        self.test_split: TestSplit = test
        self.budget = budget
        self.fractions = fractions
        self.encoder = encoder
        self.splits: dict[str, Split] = {}
        self._parts: dict[Split, list[Transition]] = {}

    def load(self, split: Split) -> list[Transition]:
        """Read all splits, once.

        Raises:
            InputError: something is missing, malformed or not what was collected.
        """
        if not self._parts:
            self._parts = self._read()
            self.splits = {t.episode: name for name, transitions in self._parts.items() for t in transitions}
        return self._parts[split]

    def metrics(self) -> dict[str, PredictionMetric]:
        """ROUGE-L and BERTScore of the next page; what of an action is right: operation, element, argument."""
        scores: dict[str, PredictionMetric] = {"fwm_rouge_l": RougeL(), **operation_metrics()}
        return scores | {"fwm_bertscore": BertScore(self.encoder)} if self.encoder else scores

    def _read(self) -> dict[Split, list[Transition]]:
        if not self.path.is_dir():
            raise InputError(
                f"{self.path}: no such folder, expected Mind2Web's data or what 'swirl collect web' writes; check "
                "data.path, or collect: swirl collect web --out FOLDER"
            )
        if (self.path / RECORD).is_file():
            parts = read_collection(self.path)
            check_episodes(self.path, [t for transitions in parts.values() for t in transitions])
            return parts
        return read_mind2web(self.path, self.test_split, self.budget, self.fractions, self.seed)
