"""What a reward sees and returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.models import Policy
from swirl_lightning.types import Ids, InputError, Symbol, Transition, check_number


@dataclass(frozen=True)
class ScoringTask:
    """What the frozen scorer is asked about N rollout rows; everything up to the rows is shared by a group.

    Args:
        prompts: the ids that a group's texts share. P entries.
        rows: what follows: the completion, what the layout puts after it, and the target. N entries.
        scored: length of each target, end token included. N entries.
        transitions: what each group started from; its action is None. P entries.
        texts: the completions as text; None where one is malformed. N entries.
        writes: what the completions are: next states, ``y`` (VIM), or actions, ``z`` (ELBO).
    """

    prompts: tuple[Ids, ...]
    rows: tuple[Ids, ...]
    scored: tuple[int, ...]
    transitions: tuple[Transition, ...]
    texts: tuple[str | None, ...]
    writes: Symbol


LARGEST = 1e16
"""In size; the square of what is larger leaves float32, and with it the spread of a group."""


class Rewards(NamedTuple):
    """Rewards of the N rows.

    Args:
        total: the reward that GRPO maximises. [N]
        parts: named terms, logged beside the total. Each [N]
    """

    total: Tensor
    parts: Mapping[str, Tensor] = {}


class Reward(Protocol):
    """A reward is any callable of this form; name its class under ``model.reward``."""

    def __call__(self, rollouts: Rollouts, task: ScoringTask, scorer: Policy) -> Rewards:
        """Score each distinct completion."""
        ...


def checked(rewards: Rewards, reward: Reward, rollouts: Rollouts) -> Rewards:
    """What a reward returned, as GRPO and the history can use it: float32 beside the rollouts, without gradients.

    Args:
        rewards: what it returned, whatever that is.
        reward: which did.
        rollouts: what it was given, of N rows.

    Raises:
        InputError: it is not of the form of ``Rewards``.
    """
    name = f"{type(reward).__module__}.{type(reward).__qualname__}"
    if not (isinstance(rewards, Rewards) and isinstance(rewards.parts, Mapping)):
        raise InputError(
            f"model.reward: {name} returned {type(rewards).__name__}, expected "
            "swirl_lightning.rewards.Rewards(total_N, parts), the parts a dict"
        )
    n = len(rollouts.completions)

    def column(what: str, x_N: object) -> Tensor:
        if not isinstance(x_N, Tensor) or x_N.shape != (n,) or x_N.is_complex():
            found = f"a tensor of {x_N.dtype}, {list(x_N.shape)}" if isinstance(x_N, Tensor) else type(x_N).__name__
            raise InputError(
                f"model.reward: {name} returned as its {what} {found}, expected a tensor [{n}] of real numbers, one "
                "for each distinct completion"
            )
        return x_N.detach().to(rollouts.logp.device, torch.float32)

    parts = {part: column(f"part {part!r}", x_N) for part, x_N in rewards.parts.items()}
    return Rewards(column("total", rewards.total), parts)


def scored_in_float32(*rewards: Reward) -> bool:
    """Whether any of them may score on a half-precision base in float32, which takes more memory; most do not say."""
    return any(getattr(reward, "precision", "float32") == "float32" for reward in rewards)


@dataclass
class WeightedSum:
    """The weighted sum of several rewards; each of them is logged.

    Args:
        rewards: the terms.
        weights: their weights, one each.
    """

    rewards: list[Reward]
    weights: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.rewards):
            raise InputError(
                f"model.reward: WeightedSum has {len(self.rewards)} rewards but {len(self.weights)} weights; expected "
                "one weight for each"
            )
        for weight in self.weights:
            check_number("model.reward: a weight of WeightedSum", weight)

    def __call__(self, rollouts: Rollouts, task: ScoringTask, scorer: Policy) -> Rewards:  # noqa: D102
        results = [reward(rollouts, task, scorer) for reward in self.rewards]
        parts: dict[str, Tensor] = {}
        names = [type(reward).__name__ for reward in self.rewards]
        for i, (name, result) in enumerate(zip(names, results, strict=True)):
            label = name if names.count(name) == 1 else f"{name}_{i}"
            parts |= {label: result.total, **result.parts}
        total = sum(weight * result.total for weight, result in zip(self.weights, results, strict=True))
        assert isinstance(total, Tensor)
        return Rewards(total, parts)
