"""What the benchmarks of pictures have in common: a test split in subsets, and training data from elsewhere."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.environments.files import FilesDataModule
from swirl_lightning.environments.rows import read_rows
from swirl_lightning.environments.splits import SPLITS, Fractions, Split, divide
from swirl_lightning.metrics import PredictionMetric
from swirl_lightning.metrics.clip import Captions, clip_metrics
from swirl_lightning.metrics.pictures import PictureScore
from swirl_lightning.pictures import is_picture
from swirl_lightning.types import InputError, Transition


class BenchmarkDataModule(FilesDataModule):
    """Pairs of pictures with an instruction between them, in subsets that are reported one by one and together.

    The test split is the benchmark's. Training data are, in this order: those of ``train``, the benchmark's own, or,
    for a trial, a share of the test rows. Pictures keep their size; what a model makes of pairs of unequal size is an
    option of the model (``model.base.fit``). The words around states and actions are those of logs, so that a model
    that another benchmark or a log has trained can be tested on this one.

    Args:
        path: the folder of the benchmark.
        train: a data module whose labelled, state-only and validation splits train, such as AURORA's for ByteMorph.
        state_only: a log of pictures, such as ``swirl collect video`` writes, that is the state-only split.
        divide_test: where there is nothing to train on, divide the test rows into the four splits, for a trial.
        clip: a CLIP model, by its folder or its name on the hub, for the CLIP metrics; null leaves them out.
        skip_missing: leave out rows whose pictures or videos are not there, and say how many; else they are an error.
        fractions: of rows that come unsplit, the share in labelled, state_only, validation and test; of training rows,
            validation takes the last share too, and labelled the second where ``state_only`` is given.
        kwargs: arguments of ``TransitionDataModule``.
    """

    def __init__(
        self,
        path: Path,
        train: TransitionDataModule | None = None,
        state_only: Path | None = None,
        divide_test: bool = False,
        clip: str | None = None,
        skip_missing: bool = False,
        fractions: Fractions = (0.45, 0.45, 0.05, 0.05),
        **kwargs: Any,
    ) -> None:
        super().__init__(path, fractions, **kwargs)
        if train is not None and (state_only is not None or divide_test):
            other = "state_only" if state_only is not None else "divide_test"
            raise InputError(f"data: found train and {other}, expected one of them; give {other} to the data of train")
        self.train = train
        self.state_only_log = state_only
        self.divide_test = divide_test
        self.clip = clip
        self.skip_missing = skip_missing
        self.captions: Captions = {}
        if train is not None:
            train.seed = self.seed

    @abstractmethod
    def read_test(self) -> list[Transition]:
        """The benchmark's test rows; ``environment`` names the subset of each. Fills ``captions`` where there are any.

        Raises:
            InputError: a file is missing or malformed.
        """

    def read_train(self) -> list[Transition]:
        """Training rows of its own; none where it has none."""
        return []

    def read(self) -> Mapping[Split, Sequence[Transition]]:
        """The four splits."""
        if not self.path.is_dir():
            raise InputError(f"{self.path}: no such folder, expected the benchmark as published; check data.path")
        test = self.read_test()
        if self.train is not None:
            self.train.setup()
            parts = {split: _all_named(getattr(self.train, split), test) for split in SPLITS} | {"test": test}
        else:
            parts = self._divided(test, self.read_train())
        if self.state_only_log is not None:
            parts["state_only"] = self._log(self.state_only_log, test)
        return parts

    def parts(self) -> Mapping[str, TransitionDataModule]:
        """The subsets, by name, and those of the data that trains, all with the same words and metrics."""
        if self.environment:  # one of several in a mixture
            return super().parts()
        self.setup()
        names = dict.fromkeys(t.environment for t in (*self.test, *self.labelled, *self.state_only, *self.validation))
        return {name: _Subset(self, name) for name in names}

    def metrics(self) -> dict[str, PredictionMetric]:
        """PSNR and SSIM, and those of CLIP where there is one."""
        pixels: dict[str, PredictionMetric] = {"fwm_psnr": PictureScore("psnr"), "fwm_ssim": PictureScore("ssim")}
        return pixels | (clip_metrics(self.clip, self.captions) if self.clip else {})

    def _divided(self, test: list[Transition], train: list[Transition]) -> dict[Split, list[Transition]]:
        rows = train or (test if self.divide_test else [])
        parts: dict[Split, list[Transition]] = {split: [] for split in SPLITS} | {"test": test}
        if not rows:
            rank_zero_warn(
                f"{self.path}: found no training rows, so there is a test split alone: name what trains with "
                "data.train, or set data.divide_test to true to divide the test rows for a trial"
            )
            return parts
        divided = divide(zip(linked(rows), rows, strict=True), self.fractions, self.seed, "set of linked pictures")
        if train:
            parts |= {"labelled": divided["labelled"], "validation": divided["validation"] + divided["test"]}
            parts["labelled" if self.state_only_log else "state_only"] += divided["state_only"]
        else:
            rank_zero_warn(
                f"{self.path}: divide_test: the {len(test)} test rows are divided into {', '.join(SPLITS)}: a trial, "
                "whose scores compare with no one's"
            )
            parts = divided
        return parts | {"state_only": [replace(t, action=None) for t in parts["state_only"]]}

    def _log(self, path: Path, test: Sequence[Transition]) -> list[Transition]:
        rows = read_rows(path, actions=False)
        if not is_picture(rows[0].state):
            raise InputError(f"{path}: found texts, expected a log of pictures, such as 'swirl collect video' writes")
        return _all_named(rows, test)


def _all_named(rows: Sequence[Transition], test: Sequence[Transition]) -> list[Transition]:
    """The rows, those of a log as of the first subset: all subsets have the same prompts."""
    return [t if t.environment else replace(t, environment=test[0].environment) for t in rows]


class _Subset(TransitionDataModule):
    """One subset of a benchmark."""

    def __init__(self, whole: BenchmarkDataModule, name: str) -> None:
        super().__init__()
        self.whole = whole
        self.environment = name
        self.layout = whole.layout

    def load(self, split: Split) -> list[Transition]:
        return [t for t in self.whole.load(split) if t.environment == self.environment]

    def metrics(self) -> dict[str, PredictionMetric]:
        return self.whole.metrics()


def linked(rows: Sequence[Transition]) -> list[str]:
    """A key for each row, the same for all that share a picture, be it through others: they are never parted."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above.setdefault(name, name) != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    for t in rows:
        above[top(t.next_state)] = top(t.state)
    return [top(t.state) for t in rows]


def check_row(where: str, row: Any, texts: Sequence[str]) -> dict[str, Any]:
    """A row that is an object with these fields, each of them text that is not empty.

    Raises:
        InputError: it is not.
    """
    if not isinstance(row, dict):
        raise InputError(f"{where}: found {type(row).__name__}, expected an object with {', '.join(texts)}")
    for field in texts:
        if field not in row:
            raise InputError(f"{where}: {field}: missing; found {sorted(map(str, row))}, expected {', '.join(texts)}")
        if not isinstance(row[field], str) or not row[field].strip():
            raise InputError(f"{where}: {field}: found {row[field]!r:.60}, expected text; mend the row")
    return row


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        InputError: there is no such file, or it holds no JSON.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected one of the benchmark as published; check data.path")
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: found no UTF-8 at byte {error.start}; convert the file to UTF-8") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{error.lineno}: found broken JSON ({error.msg}, column {error.colno}); fetch the file again"
        ) from error
    except (ValueError, RecursionError) as error:  # numbers of 5,000 digits, lists within lists without an end
        raise InputError(f"{path}: found JSON that cannot be read ({error}); fetch the file again") from error


def told_missing(path: Path, missing: Sequence[str], rows: int, skip: bool) -> None:
    """Say which files are not there.

    Raises:
        InputError: rows without them are not to be left out, or there is no other.
    """
    if not missing:
        return
    told = f"{path}: {len(missing)} of {rows} rows name a file that is not there, the first: {missing[0]}"
    if not skip or len(missing) == rows:
        raise InputError(f"{told}; fetch it, or leave such rows out with data.skip_missing")
    rank_zero_warn(f"{told}; they are left out")


def counts(rows: Iterable[Transition]) -> str:
    """How many rows each subset has, in words."""
    names = [t.environment for t in rows]
    return ", ".join(f"{name} {names.count(name)}" for name in dict.fromkeys(names))
