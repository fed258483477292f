"""How well each of several plans explains what was seen. Shape letters: C plans, K steps of one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from swirl_lightning.algorithms.objectives import row_sum
from swirl_lightning.metrics.choice import Plans
from swirl_lightning.modules.grpo_mixin import target_logprobs
from swirl_lightning.modules.open_loop import open_loop
from swirl_lightning.modules.world_model import WorldModel
from swirl_lightning.types import Role, Transition


@torch.no_grad()
def plan_likelihoods(model: WorldModel, plans: Plans, role: Role) -> list[float]:
    """The log-probability of each plan's steps at temperature 1, in nats, summed over its steps. C

    Of the FWM it is that of the states that were seen, given the plan's actions: sum over k of log P(y_k | x_k, z_k).
    Of the IDM it is that of the plan's actions, given the states: sum over k of log Q(z_k | x_k, y_k). A plan of
    another number of steps than were seen has NaN.

    Args:
        model: both roles, set up.
        plans: what was seen, and the plans.
        role: which is asked.
    """
    fits = [len(plan) == len(plans.episode) for plan in plans.candidates]
    steps = [step for plan, its in zip(plans.candidates, fits, strict=True) if its for step in _with(plans, plan)]
    if not steps:
        return [math.nan] * len(fits)
    codes = [model.codec.encode(t, keep=False) for t in steps]
    zs = [code.z or () for code in codes]
    if role == "fwm":
        asked, targets = [model.fwm.prompt(c, z) for c, z in zip(codes, zs, strict=True)], [code.y for code in codes]
    else:
        asked, targets = [model.idm.prompt(code, code.given) for code in codes], zs
    policy = model.fwm.policy if role == "fwm" else model.idm.policy
    sums = row_sum(*target_logprobs(policy, asked, targets)).view(-1, len(plans.episode)).sum(1).tolist()
    return [sums.pop(0) if its else math.nan for its in fits]


@torch.no_grad()
def plan_similarities(model: WorldModel, plans: Plans, similarity: Callable[[str, str], float]) -> list[float]:
    """How similar the last state that the FWM reaches by each plan is to the last one that was seen. C

    The FWM goes on from its own next states, from the first one seen. A plan with a malformed next state has NaN.

    Args:
        model: both roles, set up.
        plans: what was seen, and the plans.
        similarity: of a predicted state and a true one.
    """
    first, last = plans.episode[0], plans.episode[-1].next_state
    chains = [[replace(first, step=k, action=z) for k, z in enumerate(plan)] for plan in plans.candidates]
    reached = [states[-1] for states in open_loop(model, chains)]
    return [math.nan if state is None else similarity(state, last) for state in reached]


def _with(plans: Plans, plan: Sequence[str]) -> list[Transition]:
    return [replace(t, action=action) for t, action in zip(plans.episode, plan, strict=True)]
