"""Verification at test time: of N sampled next states, the one that shows the action best. Nothing is trained.

Shape letters: P transitions, N samples of each, R distinct ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from swirl_lightning.modules.grpo_mixin import actions_of
from swirl_lightning.modules.scoring import scoring_task
from swirl_lightning.modules.world_model import WorldModel
from swirl_lightning.rewards import LikelihoodReward
from swirl_lightning.types import Transition


class Candidates(NamedTuple):
    """What the FWM drew for one transition; a next state that is None is no valid state.

    Args:
        best: the one in which the IDM finds the action most probable.
        first: the first that was drawn, which is what N = 1 would give.
        distinct: all that were drawn, each once, in the order in which they came up.
    """

    best: str | None
    first: str | None
    distinct: tuple[str | None, ...]


@torch.no_grad()
def best_of_n(model: WorldModel, transitions: Sequence[Transition], n: int, seed: int = 0) -> list[Candidates]:
    """Draw N next states from the FWM and choose by the IDM's log Q(z | x, y) (arXiv:2602.06130, section 5).

    A sample without an end, or that is no valid edit of the state, is chosen only where there is no other.

    Args:
        model: both roles, set up.
        transitions: P transitions with their actions.
        n: N.
        seed: of the draws, which depend on it and on the transition alone, in whatever batch that is.

    Raises:
        InputError: if a transition has no action to verify.
    """
    codes = [model.codec.encode(t) for t in transitions]
    zs = actions_of(codes)
    prompts = [model.fwm.prompt(code, z) for code, z in zip(codes, zs, strict=True)]
    seeds = [_seed(seed, t) for t in transitions]
    fwm = model.fwm
    rollouts = fwm.policy.generate(
        prompts, seeds, group_size=n, max_tokens=fwm.max_new_tokens, sampling=fwm.sampling
    )  # fmt: skip
    task = scoring_task(rollouts, transitions, codes, zs, learner=fwm, scorer=model.idm, codec=model.codec)
    score_R = LikelihoodReward(floor=None)(rollouts, task, model.idm.policy).total
    readable_R = torch.tensor([text is not None for text in task.texts], device=score_R.device)
    score_R = score_R.masked_fill(~(readable_R & rollouts.finished), -inf)
    states = task.texts
    firsts, chosen = rollouts.row_of[:, 0].tolist(), best_rows(score_R, rollouts.prompt_of)
    distinct = [tuple(states[r] for r in rows) for rows in _rows_of(rollouts.prompt_of)]
    return [
        Candidates(states[best], states[first], drawn)
        for best, first, drawn in zip(chosen, firsts, distinct, strict=True)
    ]


def best_rows(score_R: Tensor, prompt_of_R: Tensor) -> list[int]:
    """The row with the highest score of each prompt; among equals, the one that came up first. P"""
    scores = score_R.tolist()
    return [max(rows, key=lambda r: (scores[r], -r)) for rows in _rows_of(prompt_of_R)]


def _rows_of(prompt_of_R: Tensor) -> list[list[int]]:
    rows: dict[int, list[int]] = {}
    for r, p in enumerate(prompt_of_R.tolist()):
        rows.setdefault(p, []).append(r)
    return [rows[p] for p in sorted(rows)]


def _seed(seed: int, transition: Transition) -> int:
    place = (seed, "best of n", transition.episode, transition.step)
    return int.from_bytes(blake2b(repr(place).encode(), digest_size=6).digest())
