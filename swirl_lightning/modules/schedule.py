"""The stages of a run: which phase, how long, in which order."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from swirl_lightning.environments.loaders import Draw
from swirl_lightning.modules.phases import PHASES, Phase
from swirl_lightning.types import InputError, check_number, check_number_or_null

PLACE = "trainer.warmup or trainer.iteration"


@dataclass(frozen=True, slots=True)
class Stage:
    """One entry of the schedule.

    Args:
        phase: what is optimised: ``pretrain`` (language modelling of x then y, no action), ``sft`` (both roles on the
            labelled half), ``bootstrap`` (the FWM on the IDM's own labels of the state-only half), ``vim`` (the FWM
            learns, the IDM scores), ``elbo`` (the IDM learns, the FWM scores), or the path of a class that extends
            ``swirl_lightning.modules.phases.Phase``.
        updates: number of optimiser updates; null means ``passes``.
        learning_rate: peak learning rate; null takes the learning rate of the role.
        batch_size: transitions per update; null takes ``data.batch_size``.
        passes: passes over the phase's data in place of ``updates``; null means one.
        lr_warmup: updates of linear warm-up at the start, or their share of the stage where it is below 1; null takes
            ``model.optimizer.lr_warmup``.
        until: ``converged`` ends the stage, which then has a constant learning rate, when the learners no longer get
            better on the validation rows, and keeps the best weights of each; ``updates`` or ``passes`` is then the
            most. null goes through.
    """

    phase: str
    updates: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    passes: float | None = None
    lr_warmup: float | None = None
    until: Literal["converged"] | None = None

    def __post_init__(self) -> None:
        find_phase(self.phase)
        check_number_or_null(f"{PLACE}: updates of a {self.phase!r} stage", self.updates, least=1)
        check_number_or_null(f"{PLACE}: learning_rate of a {self.phase!r} stage", self.learning_rate, above=0)
        check_number_or_null(f"{PLACE}: batch_size of a {self.phase!r} stage", self.batch_size, least=1)
        check_number_or_null(f"{PLACE}: passes of a {self.phase!r} stage", self.passes, above=0)
        check_number_or_null(f"{PLACE}: lr_warmup of a {self.phase!r} stage", self.lr_warmup, least=0)
        if self.updates is not None and self.passes is not None:
            raise InputError(
                f"{PLACE}: found updates {self.updates} and passes {self.passes:g} of a {self.phase!r} stage, expected "
                "one of them"
            )
        if self.until not in (None, "converged"):
            raise InputError(f"{PLACE}: until of a {self.phase!r} stage: found {self.until!r}, expected converged")
        if self.until and self.updates is None and self.passes is None:
            raise InputError(
                f"{PLACE}: a {self.phase!r} stage until converged has no updates and no passes, expected one of them, "
                "the most that it may take"
            )
        if self.until and not find_phase(self.phase).answers:
            raise InputError(
                f"{PLACE}: until of a {self.phase!r} stage: found {self.until}, expected null: after it no role can "
                "be evaluated"
            )


@dataclass(frozen=True, slots=True)
class NamedStage:
    """A stage at its place in the schedule.

    Args:
        index: number in the schedule, from 0.
        name: ``pretrain``, ``warmup``, ``vim-1``, ``elbo-1``, ``vim-2``, ...; unique in a run.
        iteration: 0 before the first iteration, then 1, 2, ...
        stage: what to do.
    """

    index: int
    name: str
    iteration: int
    stage: Stage

    @property
    def phase(self) -> Phase:
        """What an update does."""
        return find_phase(self.stage.phase)

    @property
    def draw(self) -> Draw:
        """What its batches are drawn from."""
        phase, stage = self.phase, self.stage
        return Draw(
            self.name, self.index, phase.pools, phase.reads_actions, phase.anchored, stage.updates, stage.batch_size,
            stage.passes or 1,
        )  # fmt: skip


def find_phase(name: str) -> Phase:
    """The phase that a schedule names: one of the table, or a class of another package by its path.

    Raises:
        InputError: there is no such phase.
    """
    if name in PHASES:
        return PHASES[name]
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute) if module else None
    except (ImportError, AttributeError):
        found = None
    if isinstance(found, type) and issubclass(found, Phase):
        return found()
    close = get_close_matches(name, PHASES, 1)
    raise InputError(
        f"{PLACE}: found the phase {name!r}, expected one of {', '.join(PHASES)}, or the path of a class that extends "
        "swirl_lightning.modules.phases.Phase" + (f"; did you mean {close[0]}?" if close else "")
    )


def expand_schedule(warmup: Sequence[Stage], iteration: Sequence[Stage], iterations: int) -> tuple[NamedStage, ...]:
    """The stages of a run in order: the warm-up once, then the iteration as often as asked.

    Raises:
        InputError: there is nothing to do.
    """
    check_number("trainer.iterations", iterations, least=0)
    planned = [(0, stage) for stage in warmup] + [(i + 1, stage) for i in range(iterations) for stage in iteration]
    if not planned:
        raise InputError(
            "trainer: warmup and iteration hold no stage (or iterations is 0), so there is nothing to train"
        )
    seen: dict[str, int] = {}
    stages = []
    for index, (number, stage) in enumerate(planned):
        phase = find_phase(stage.phase).name
        base = "warmup" if phase == "sft" and number == 0 else phase
        name = f"{base}-{number}" if number else base
        seen[name] = seen.get(name, 0) + 1
        # the same phase twice in an iteration: vim-1, vim-1b
        suffix = "" if seen[name] == 1 else chr(ord("a") + seen[name] - 1)
        stages.append(NamedStage(index, name + suffix, number, stage))
    return tuple(stages)
