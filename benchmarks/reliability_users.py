"""Code that a configuration names and that is not this project's: it raises, or returns what it should not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from reliability_runs import Bench, Case, Started

MODULE = """
from dataclasses import replace

import lightning as L
import torch

from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.environments.log import LogDataModule
from swirl_lightning.metrics.base import PredictionMetric
from swirl_lightning.models import Policy
from swirl_lightning.rewards import Rewards, ScoringTask


class Silent(Exception):
    def __str__(self):
        raise ValueError("an exception that cannot be told")


def fail():
    {statement}


class Reward:
    def __call__(self, rollouts: Rollouts, task: ScoringTask, scorer: Policy) -> Rewards:
        n = len(task.rows)
        total = torch.zeros(n)
        return {value}


class FailingReward:
    def __call__(self, rollouts: Rollouts, task: ScoringTask, scorer: Policy) -> Rewards:
        fail()


class UnmadeReward(Reward):
    def __init__(self):
        fail()


class Callback(L.Callback):
    def {hook}(self, *args, **kwargs):
        fail()


class Data(LogDataModule):
    def {method}(self, *args, **kwargs):
        fail()


class OtherData(LogDataModule):
    def read(self):
        splits = {{name: list(rows) for name, rows in super().read().items()}}
        first = splits["labelled"][0]
        {change}
        return splits


class Metric(PredictionMetric):
    def score(self, transition, prediction):
        return {score}

    def {part}(self, *args, **kwargs):
        fail()


class Measured(LogDataModule):
    def metrics(self):
        return {{"fwm_mine": Metric()}}
"""
RAISES = {
    "an error": "raise RuntimeError('no use')",
    "a key": "{}['door']",
    "nothing said": "raise ValueError",
    "a long message": "raise ValueError('x' * 100_000)",
    "many lines and colours": "raise ValueError('first\\x1b[31m\\nsecond\\rthird')",
    "an exception that cannot be told": "raise Silent",
    "an assertion": "assert False",
    "no recursion left": "fail()",
    "no memory": "raise MemoryError",
    "a full disk": "raise OSError(28, 'No space left on device', 'mine.txt')",
    "a file that is not there": "open('nowhere/at/all')",
    "an interrupt of its own": "raise KeyboardInterrupt",
    "an end of its own": "raise SystemExit(0)",
    "the end of an iterator": "next(iter(()))",
    "not implemented": "raise NotImplementedError",
    "an error of torch": "torch.zeros(2) @ torch.zeros(3)",
    "a chain of errors": "try:\n        {}['a']\n    except KeyError as its:\n        raise ValueError('b') from its",
}
VALUES = {
    "NaN": "Rewards(total * float('nan'))",
    "one NaN": "Rewards(total.index_fill(0, torch.tensor([0]), float('nan')))",
    "infinity": "Rewards(total + float('inf'))",
    "one reward too few": "Rewards(total[1:])",
    "one reward too many": "Rewards(torch.zeros(n + 1))",
    "two dimensions": "Rewards(total[:, None])",
    "none": "Rewards(total[:0])",
    "a tensor": "total",
    "a list": "Rewards([0.0] * n)",
    "None": "None",
    "a number": "Rewards(0.0)",
    "words": "Rewards(['good'] * n)",
    "complex numbers": "Rewards(total + 1j)",
    "a part that is too short": "Rewards(total, {'half': total[1:]})",
    "a part that is NaN": "Rewards(total, {'half': total * float('nan')})",
    "a part of words": "Rewards(total, {'half': 'good'})",
}
USABLE = {
    "whole numbers": "Rewards(torch.arange(n))",
    "double precision": "Rewards(total.double() + torch.arange(n))",
    "a gradient": "Rewards(total.requires_grad_() + torch.arange(n))",
    "truth values": "Rewards(torch.arange(n) % 2 == 0)",
    "huge rewards": "Rewards(torch.arange(n) * 1e37)",
}
SCORES = {
    "words": "'good'", "NaN": "float('nan')", "infinity": "float('inf')", "a tensor of two": "torch.ones(2)",
    "a list": "[1.0]", "a complex number": "1j",
}  # fmt: skip
DATA = {
    "a split is missing": "del splits['labelled']",
    "a split is None": "splits['test'] = None",
    "no labels": "splits['labelled'] = []",
    "nothing": "splits = None",
    "rows that are no transitions": "splits['labelled'] = ['door open']",
    "a state that is a number": "splits['labelled'] = [replace(first, state=3)]",
    "a state that is None": "splits['labelled'] = [replace(first, next_state=None)]",
    "an action that is a list": "splits['labelled'] = [replace(first, action=['make', 'door'])]",
    "a step that is no number": "splits['labelled'] = [replace(first, step='first')]",
    "an episode that is a number": "splits['test'] = [replace(t, episode=3) for t in splits['test']]",
    "a label that is missing": "splits['test'] = [replace(t, action=None) for t in splits['test']]",
    "half a surrogate pair": "splits['labelled'] = [replace(first, state='\\ud800')]",
}
HOOKS = (
    "setup", "on_fit_start", "on_train_start", "on_train_batch_start", "on_train_batch_end", "on_validation_start",
    "on_validation_batch_end", "on_validation_end", "on_before_optimizer_step", "on_save_checkpoint", "state_dict",
    "on_train_end", "teardown",
)  # fmt: skip
METHODS = ("read", "setup", "metrics", "train_dataloader", "val_dataloader")
PARTS = ("__init__", "score", "update", "compute", "reset")


def users(bench: Bench) -> Iterator[Case]:
    """All of them."""
    for place, options, holes in bench.rng.sample(list(places_of_code()), 4) if bench.quick else places_of_code():
        # every exception from a reward, and two of them, drawn, from every other place
        names = list(RAISES) if place == "a reward" and not bench.quick else bench.rng.sample(list(RAISES), 2)
        for name in names:
            statement = {"statement": RAISES[name]}
            yield Case(f"{place} raises {name}", partial(raised, bench, options, holes | statement))
    reward, data = "--model.reward=mine.Reward", "--data.class_path=mine.OtherData"
    metric = "--data.class_path=mine.Measured"
    for what, option, hole, values, codes in (
        ("a reward that cannot be used", reward, "value", VALUES, (1, 2)),
        ("a reward that can be used", reward, "value", USABLE, (0, 1, 2)),
        ("a score that cannot be used", metric, "score", SCORES, (1, 2)),
        ("data that cannot be used", data, "change", DATA, (1, 2)),
    ):
        for name in list(values)[: 2 if bench.quick else None]:
            yield Case(f"{what}: {name}", partial(returned, bench, option, {hole: values[name]}, codes))


def places_of_code() -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Where code of a user's own is called: its name, the options that name it, and the method that fails."""
    yield "a reward", ["--model.reward=mine.FailingReward"], {}
    yield "a reward that is made", ["--model.reward=mine.UnmadeReward"], {}
    for hook in HOOKS:
        yield f"a callback's {hook}", ["--trainer.callbacks+=mine.Callback"], {"hook": hook}
    for method in METHODS:
        yield f"a data module's {method}", ["--data.class_path=mine.Data"], {"method": method}
    for part in PARTS:
        yield f"a metric's {part}", ["--data.class_path=mine.Measured"], {"part": part}


def started(bench: Bench, options: list[str], holes: dict[str, str]) -> tuple[Started, Path, Path]:
    """``swirl fit`` with the module, which a file of its own holds."""
    root = bench.new()
    root.mkdir(parents=True)
    names = {"statement": "pass", "value": "None", "score": "1.0", "change": "pass"}
    names |= dict.fromkeys(("hook", "method", "part"), "mine") | holes
    (root / "mine.py").write_text(MODULE.format(**names), encoding="utf-8")
    return Started(bench.fit(root, *options), lambda marks: sys.path.insert(0, str(root))), root, root / "mine.py"


def raised(bench: Bench, options: list[str], holes: dict[str, str]) -> str | None:
    """It is told as the user's: the last line names the file, and the traceback begins there."""
    command, _, file = started(bench, options, holes)
    outcome = command.end()
    if "MemoryError" in holes["statement"] and outcome.code == 2:
        return outcome.fault("out of memory")
    if outcome.code != 1:
        return f"exit code {outcome.code}, expected 1: {outcome.last[:300]}"
    if not outcome.last.startswith("error: code of your own failed: ") or str(file) not in outcome.last:
        return f"not told as the user's: {outcome.last[:300]}"
    lines = outcome.err.splitlines()
    if "Traceback (most recent call last):" not in lines:
        return "no traceback"
    if "\x1b[31m" in outcome.err:
        return "colours of the message reach the terminal"
    return f"a last line of {len(outcome.last)} characters" if len(outcome.last) > 2000 else None


def returned(bench: Bench, option: str, holes: dict[str, str], codes: tuple[int, ...]) -> str | None:
    """It is refused in one line, or trained with to finite numbers."""
    command, root, _ = started(bench, [option], holes)
    outcome = command.end()
    if outcome.code not in codes:
        return f"exit code {outcome.code}, expected one of {codes}: {outcome.last[:300]}"
    if outcome.code == 0:
        return bench.finite(root)
    if not outcome.last.startswith(("error: ", "training stopped: ")):
        return f"no line that says why: {outcome.last[:300]}"
    return None
