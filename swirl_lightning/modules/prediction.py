"""One step of the learned world: what the FWM makes of states and actions, many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from swirl_lightning.engine import GREEDY, Sampling
from swirl_lightning.modules.world_model import WorldModel
from swirl_lightning.types import Ids, InputError

SHOWN = 80
"""Characters of a malformed prediction that its message shows."""


class NextState(NamedTuple):
    """What the FWM makes of a state and an action.

    Args:
        state: the next state; None where the prediction is malformed.
        logp: log-probability of what was written, end token included, in nats under the distribution drawn from; 0
            where nothing was written.
        problem: what is wrong with a malformed prediction, else None.
    """

    state: str | None
    logp: float
    problem: str | None = None


@torch.no_grad()
def predict_next(
    model: WorldModel,
    states: Sequence[str],
    actions: Sequence[str],
    environment: str = "",
    *,
    sampling: Sampling = GREEDY,
    seeds: Sequence[int] | None = None,
) -> list[NextState]:
    """One step from each of P states.

    A prediction is malformed where it does not end within the FWM's ``max_new_tokens``, where it is no valid edit of
    the state (``delta``) or text of a state (``full``), or where state and action are too long to be asked about.

    Args:
        model: a SWIRL that is set up.
        states: P states.
        actions: P actions.
        environment: whose prompts are used.
        sampling: the distribution to draw from, where there are seeds.
        seeds: P seeds of the draws; without them the most probable tokens are taken. A prediction depends on
            its own seed alone, in whatever batch it is.
    """
    prompts: dict[int, Ids] = {}
    problems: dict[int, str] = {}
    for p, (state, action) in enumerate(zip(states, actions, strict=True)):
        try:
            prompts[p] = model.codec.question(state, action, environment)
        except InputError as error:
            problems[p] = str(error)
    written: dict[int, NextState] = {}
    if prompts:
        its_seeds = None if seeds is None else [seeds[p] for p in prompts]
        answers = model.fwm.answer(list(prompts.values()), its_seeds, sampling=sampling)
        for p, ids, ended, logp in zip(prompts, answers.ids, answers.ended, answers.logp.tolist(), strict=True):
            written[p] = _read(model, states[p], ids, ended, logp)
    return [written.get(p) or NextState(None, 0.0, problems[p]) for p in range(len(states))]


def _read(model: WorldModel, state: str, ids: Ids, ended: bool, logp: float) -> NextState:
    next_state = model.codec.next_state(state, ids) if ended else None
    if next_state is not None:
        return NextState(next_state, logp)
    text = model.codec.show(ids)
    shown = repr(text if len(text) <= SHOWN else text[:SHOWN] + "...")
    if not ended:
        limit = model.fwm.max_new_tokens
        return NextState(None, logp, f"found no end within {limit} tokens (model.fwm.max_new_tokens): {shown}")
    return NextState(None, logp, f"found {shown}, expected {model.codec.expected}")
