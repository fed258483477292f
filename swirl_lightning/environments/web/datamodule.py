"""Web pages: Mind2Web (arXiv 2306.06070), or what ``swirl collect web`` wrote (MiniWoB++, arXiv 1802.08802)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swirl_lightning.codecs import Layout
from swirl_lightning.environments.collection import RECORD, read_episodes
from swirl_lightning.environments.files import FilesDataModule
from swirl_lightning.environments.splits import Fractions, Split
from swirl_lightning.environments.web.metrics import OperationAccuracy
from swirl_lightning.environments.web.mind2web import TestSplit, read_mind2web
from swirl_lightning.metrics import BertScore, PredictionMetric, RougeL
from swirl_lightning.types import InputError, Transition


class WebDataModule(FilesDataModule):
    """States are pages, one element a line; actions click, type or select on an element. Reading needs no extra.

    Args:
        path: a folder that ``swirl collect web`` wrote, or the one with Mind2Web's ``data``.
        test: which of Mind2Web's test splits is the test split.
        budget: most tokens of a page of Mind2Web, as ``page.count_tokens`` counts them: a tokenizer makes up to half
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
        super().__init__(path, fractions, **kwargs)
        if budget < 1:
            raise InputError(f"data.budget: found {budget}, expected at least 1")
        self.test_split: TestSplit = test
        self.budget = budget
        self.encoder = encoder

    def read(self) -> Mapping[Split, Sequence[Transition]]:
        """What was collected, where the folder has its record; else Mind2Web."""
        if (self.path / RECORD).is_file():
            return read_episodes(self.path)
        if self.path.is_dir():
            return read_mind2web(self.path, self.test_split, self.budget, self.fractions, self.seed)
        raise InputError(
            f"{self.path}: no such folder, expected Mind2Web's data or what 'swirl collect web' writes; check "
            "data.path, or collect: swirl collect web --out FOLDER"
        )

    def metrics(self) -> dict[str, PredictionMetric]:
        """ROUGE-L and BERTScore of the next page; what of an action is right: operation, element, argument."""
        metrics: dict[str, PredictionMetric] = {
            "fwm_rouge_l": RougeL(),
            "idm_operation": OperationAccuracy("name"),
            "idm_element": OperationAccuracy("element"),
            "idm_arguments": OperationAccuracy("arguments"),
        }
        if self.encoder:
            metrics["fwm_bertscore"] = BertScore(self.encoder)
        return metrics
