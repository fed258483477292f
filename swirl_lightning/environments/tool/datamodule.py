"""Tool calls: MirrorAPI-Bench as published, or what ``swirl collect tool`` wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swirl_lightning.codecs import Layout
from swirl_lightning.environments.collection import RECORD, read_collection
from swirl_lightning.environments.files import FilesDataModule
from swirl_lightning.environments.splits import Fractions, Split
from swirl_lightning.environments.tool.metrics import CallArguments, CallTool, CharBleu
from swirl_lightning.environments.tool.mirrorapi import FOLDER, MirrorOptions, TestSplit, read_mirrorapi
from swirl_lightning.metrics import PredictionMetric
from swirl_lightning.types import InputError, Transition


class ToolDataModule(FilesDataModule):
    """States are the documentation of tools and the results so far, actions are calls, next states add a result.

    The path is a folder in one of two forms. With ``collection.json`` it is what ``swirl collect tool`` wrote. With
    ``test_sft/`` it is MirrorAPI-Bench: the test split is the benchmark's, and the training rows are divided by API
    into the other three. Without training rows there is a test split alone.

    Args:
        path: the folder.
        train_file: MirrorAPI's training rows, a file in the folder.
        test_splits: which of MirrorAPI's five test files are the test split; null means all that are there.
        divide_test: where MirrorAPI's training rows are missing, divide its test rows by API into the four splits, for
            a trial.
        max_chars: leave MirrorAPI's rows out whose next state and call have more characters; null keeps all.
        fractions: of MirrorAPI's rows, the share of the APIs in labelled, state_only, validation and test; of training
            rows, validation takes the last share too.
        kwargs: arguments of ``TransitionDataModule``.
    """

    environment = "tool"
    layout = Layout(start="Tools and results:\n", action="\nCall:", next_state="\nChange:\n")

    def __init__(
        self,
        path: Path,
        train_file: str = "train_sft.json",
        test_splits: list[TestSplit] | None = None,
        divide_test: bool = False,
        max_chars: int | None = None,
        fractions: Fractions = (0.45, 0.45, 0.05, 0.05),
        **kwargs: Any,
    ) -> None:
        super().__init__(path, fractions, **kwargs)
        self.options = MirrorOptions(train_file, test_splits, divide_test, max_chars)

    def read(self) -> Mapping[Split, Sequence[Transition]]:
        """What was collected, or MirrorAPI-Bench; the folder says which."""
        if (self.path / RECORD).is_file():
            return read_collection(self.path)
        if (self.path / FOLDER).is_dir():
            return read_mirrorapi(self.path, self.options, self.fractions, self.seed)
        found = "no such folder" if not self.path.is_dir() else f"found neither {RECORD} nor {FOLDER}/"
        raise InputError(
            f"{self.path}: {found}, expected a folder that 'swirl collect tool' wrote, or MirrorAPI-Bench as published "
            f"with {FOLDER}/id_high.json and so on; check data.path"
        )

    def metrics(self) -> dict[str, PredictionMetric]:
        """MirrorAPI's character BLEU of the response; the IDM's tool and arguments."""
        return {"fwm_char_bleu": CharBleu(), "idm_tool": CallTool(), "idm_arguments": CallArguments()}
