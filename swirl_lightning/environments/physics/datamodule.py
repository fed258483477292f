"""Physics in text: ScienceWorld as it was collected, or ByteSized32-State-Prediction as it is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from swirl_lightning.codecs import Layout
from swirl_lightning.environments.collection import read_episodes
from swirl_lightning.environments.files import FilesDataModule
from swirl_lightning.environments.physics.bytesized32 import Step, is_bytesized32, read_bytesized32
from swirl_lightning.environments.physics.metrics import StateAccuracy
from swirl_lightning.environments.splits import Fractions, Split
from swirl_lightning.metrics import BertScore, PredictionMetric, RougeL
from swirl_lightning.types import InputError, Transition


class PhysicsDataModule(FilesDataModule):
    """ScienceWorld or ByteSized32. Reading either needs neither Java nor an extra.

    Args:
        path: the folder that ``swirl collect physics`` wrote; or ByteSized32-State-Prediction: its ``test.jsonl``, or a
            folder with that and, where at hand, ``train.jsonl``.
        transition: of ByteSized32, which step: ``action`` (what the action does), ``tick`` (what then happens by
            itself) or ``full`` (both).
        fractions: of ByteSized32 rows that come unsplit, the share in labelled, state_only, validation and test.
        encoder: a folder or a name of a model for BERTScore; null leaves BERTScore out.
        kwargs: arguments of ``TransitionDataModule``.
    """

    environment = "physics"
    layout = Layout(start="World:\n", action="\nAction:", next_state="\nWhat changes:\n")

    def __init__(
        self,
        path: Path,
        transition: Step = "full",
        fractions: Fractions = (0.4, 0.4, 0.1, 0.1),
        encoder: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(path, fractions, **kwargs)
        self.transition = transition
        self.encoder = encoder

    def read(self) -> Mapping[Split, Sequence[Transition]]:
        """ByteSized32, where the path is that; else what was collected."""
        if is_bytesized32(self.path):
            parts = read_bytesized32(self.path, self.transition, self.fractions, self.seed)
            # The benchmark's rows all have an action; the state-only half has none from here on.
            return parts | {"state_only": [replace(t, action=None) for t in parts["state_only"]]}
        if self.path.exists():
            return read_episodes(self.path)
        raise InputError(
            f"{self.path}: no such folder, expected a collection or ByteSized32-State-Prediction; run "
            f"'swirl collect physics --out {self.path}', or put test.jsonl of the benchmark there"
        )

    def metrics(self) -> dict[str, PredictionMetric]:
        """ROUGE-L and BERTScore of the next state, as the paper; of ByteSized32, the share of right states too."""
        metrics: dict[str, PredictionMetric] = {"fwm_rouge_l": RougeL()}
        if self.encoder:
            metrics["fwm_bertscore"] = BertScore(self.encoder)
        if is_bytesized32(self.path):
            metrics["fwm_state_accuracy"] = StateAccuracy()
            metrics["fwm_dynamic_accuracy"] = StateAccuracy("dynamic")
            metrics["fwm_static_accuracy"] = StateAccuracy("static")
        return metrics
