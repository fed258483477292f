"""The values that travel between layers. This module imports nothing of the project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Phase = Literal["pretrain", "sft", "bootstrap", "vim", "elbo"]
Role = Literal["fwm", "idm"]
Ids = tuple[int, ...]


class InputError(ValueError):
    """Something the user gave is wrong. The message says where, what was found, what was expected and the cure.

    The command line prints it without a traceback and exits with code 2.
    """


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of an episode: state x, next state y and, where it is known, the action z between them.

    ``environment`` names the kind of world it is from: its prompts, its metrics. A data module sets it.
    """

    episode: str
    step: int
    state: str
    next_state: str
    action: str | None = None
    environment: str = ""


class Prediction(NamedTuple):
    """What both roles say of one transition: the IDM of (x, y), the FWM of (x, z); None is no valid state."""

    action: str
    next_state: str | None


@dataclass(frozen=True, slots=True)
class PromptPair:
    """How x, y and z are laid out for both roles; x comes first, so that a group's texts share it.

    Args:
        start: ids before x.
        action: ids between what stands before z and z.
        next_state: ids between what stands before y and y.
    """

    start: Ids
    action: Ids
    next_state: Ids

    def forward(self, x: Ids, z: Ids) -> Ids:
        """The FWM's prompt, completed by y."""
        return self.start + x + self.action + z + self.next_state

    def inverse(self, x: Ids, y: Ids) -> Ids:
        """The IDM's prompt, completed by z."""
        return self.start + x + self.next_state + y + self.action

    def prior(self, x: Ids) -> Ids:
        """The prompt of the state-only prior P(z | x), completed by z."""
        return self.start + x + self.action


@dataclass(frozen=True, slots=True)
class Encoded:
    """A transition as token ids.

    Args:
        x: the state.
        y: what the FWM writes: the whole next state, or the edit that makes it.
        z: the action; None where it is not known.
        prompts: how they are laid out.
    """

    x: Ids
    y: Ids
    z: Ids | None
    prompts: PromptPair


@dataclass(frozen=True, slots=True)
class Stage:
    """One entry of the schedule.

    Args:
        phase: what is optimised: ``pretrain`` (language modelling of x then y, no action), ``sft`` (both roles on the
            labelled half), ``bootstrap`` (the FWM on the IDM's own labels of the state-only half), ``vim`` (the FWM
            learns, the IDM scores) or ``elbo`` (the IDM learns, the FWM scores).
        updates: number of optimiser updates; null means one pass over the phase's data.
        learning_rate: peak learning rate; null takes the learning rate of the role.
        batch_size: transitions per update; null takes ``data.batch_size``.
    """

    phase: Phase
    updates: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        for name in ("updates", "batch_size", "learning_rate"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InputError(f"schedule: {name} of a {self.phase!r} stage must be positive, got {value}")


class Batch:
    """What one update sees. Not a dataclass, so that Lightning passes it on untouched.

    Args:
        pairs: the transitions of the phase: state-only in the RL phases, labelled in ``sft``.
        labelled: labelled transitions for the supervised anchor; empty when no anchor is used.
    """

    __slots__ = ("labelled", "pairs")

    def __init__(self, pairs: list[Transition], labelled: list[Transition]) -> None:
        self.pairs = pairs
        self.labelled = labelled

    def __len__(self) -> int:
        return len(self.pairs)


@dataclass(frozen=True, slots=True)
class Rollouts:
    """A batch of groups. Identical completions of one prompt are kept once.

    Shape letters: P prompts, G samples per prompt, N distinct rows, T completion tokens, K support size.

    Args:
        prompts: P prompts as ids.
        completions: N distinct completions as ids, without the end token.
        prompt_of: prompt of each row. [N]
        row_of: row of each sample. [P, G]
        ids: sampled ids, end token included, padded on the right. [N, T]
        mask: True on sampled tokens. [N, T]
        finished: True where the end token was sampled before the length limit. [N]
        logp: log-probability of each sampled token under the distribution it was drawn from. [N, T]
        support: token ids that distribution could draw (top-p, top-k), padded with -1; None means all. [N, T, K]
    """

    prompts: tuple[Ids, ...]
    completions: tuple[Ids, ...]
    prompt_of: Tensor
    row_of: Tensor
    ids: Tensor
    mask: Tensor
    finished: Tensor
    logp: Tensor
    support: Tensor | None = None

    @property
    def counts(self) -> Tensor:
        """How many samples each row stands for. [N]"""
        return torch.bincount(self.row_of.flatten(), minlength=len(self.completions))
