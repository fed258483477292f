"""What a role makes of each labelled held-out transition, row by row, for decisions during a fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest

import torch

from swirl_lightning.modules.grpo_mixin import GRPOMixin, target_logprobs
from swirl_lightning.modules.processes import gather_objects, place
from swirl_lightning.modules.world_model import WorldModel
from swirl_lightning.types import Transition

Rows = dict[str, list[float]]
"""A value of each held-out row, for ``fwm/exact_match`` (0 or 1), ``fwm/logp`` (of the true answer, in nats per token),
and the same of ``idm``."""


@torch.no_grad()
def chance_of_truth(model: WorldModel, role: GRPOMixin, transitions: Sequence[Transition], batch_size: int) -> float:
    """The mean probability that an answer drawn from the role is the true one, at temperature 1, in [0, 1].

    It moves with exact match, needs no decoding, and has no step in it. The mean log-prob would also fall where a few
    answers that are wrong anyway become less probable still, as they do long before exact match stops rising.

    Args:
        model: both roles, set up.
        role: the one that is asked.
        transitions: N labelled transitions, of which each process takes a share.
        batch_size: of a pass.
    """
    rank, processes = place()
    own, total = transitions[rank::processes], 0.0
    for start in range(0, len(own), batch_size):
        codes = [model.codec.encode(t) for t in own[start : start + batch_size]]
        lesson = role.lessons(codes)[0]
        logp, mask = target_logprobs(role.policy, lesson.prompts, lesson.targets)
        total += float(logp.masked_fill(~mask, 0.0).sum(1).exp().sum())
    return sum(gather_objects(total)) / len(transitions)


def gather_rows(own: Sequence[Mapping[str, float]]) -> Rows:
    """The values of all processes, each of which has every so many-th row, in the order of the rows."""
    rows = [row for turn in zip_longest(*gather_objects(own)) for row in turn if row is not None]
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and its standard error."""
    x = torch.tensor(values, dtype=torch.float64)
    return float(x.mean()), float(x.std() / len(values) ** 0.5)
