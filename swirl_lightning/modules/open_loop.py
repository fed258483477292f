"""Open-loop rollouts: the Forward World Model goes on from its own next states through the true actions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

import torch

from swirl_lightning.codecs import TextCodec
from swirl_lightning.types import Encoded, InputError, Transition

if TYPE_CHECKING:
    from swirl_lightning.modules.swirl import SWIRL

Chain = Sequence[Transition]


@torch.no_grad()
def open_loop(model: SWIRL, chains: Sequence[Chain]) -> list[list[str | None]]:
    """The greedy next states of each chain, one per transition, the first from the chain's first state.

    From the second step on the model reads its own next state in place of the true one. Where one is malformed, or
    leaves no room within ``max_tokens`` for another step, this and all that follow are None. All chains take a step
    together, in one pass of the FWM.

    Args:
        model: the SWIRL, set up.
        chains: transitions with their actions, each chain in the order of its steps.

    Raises:
        InputError: a transition has no action, or the first one of a chain is longer than ``max_tokens``.
    """
    # a codec of its own: the model's keeps what it has encoded, and these states never come again
    codec = TextCodec(model.codec.tokenizer, model.layouts, model.codec.state_form, model.codec.max_tokens)
    said: list[list[str | None]] = [[] for _ in chains]
    for k in range(max(map(len, chains), default=0)):
        going = [n for n, chain in enumerate(chains) if k < len(chain)]
        states = {n: said[n][-1] if k else chains[n][0].state for n in going}
        codes = {n: code for n in going if (code := _encode(codec, chains[n][k], states[n], first=k == 0))}
        prompts = [model.fwm.prompt(code, _action(chains[n][k], code)) for n, code in codes.items()]
        answers = dict(zip(codes, model.fwm.answer(prompts)[0] if prompts else [], strict=True))
        for n in going:
            state = states[n]
            said[n].append(None if state is None or n not in answers else codec.next_state(state, answers[n]))
    return said


def chains_of(transitions: Iterable[Transition], steps: int) -> list[list[Transition]]:
    """The transitions that follow one another: each begins with the state that the one before it ended with.

    A run of them is cut into windows of ``steps``, which do not overlap. What is left over at its end counts as a
    window of its own from two transitions on. Steps that were left out because they changed nothing break no run.

    Args:
        transitions: in any order.
        steps: longest window.

    Returns:
        The windows in the order of environment, episode and step.
    """
    order = sorted(transitions, key=lambda t: (t.environment, t.episode, t.step))
    chains = []
    for _, episode in groupby(order, key=lambda t: (t.environment, t.episode)):
        run: list[Transition] = []
        for t in episode:
            if run and run[-1].next_state != t.state:
                chains += _windows(run, steps)
                run = []
            run.append(t)
        chains += _windows(run, steps)
    return chains


def _windows(run: list[Transition], steps: int) -> list[list[Transition]]:
    windows = [run[i : i + steps] for i in range(0, len(run), steps)]
    return [window for window in windows if len(window) > 1]


def _encode(codec: TextCodec, t: Transition, state: str | None, *, first: bool) -> Encoded | None:
    """The step from a state. What follows one that the model wrote is not known, and taken to be as long as it."""
    if first:
        return codec.encode(t)
    if state is None:
        return None
    try:
        return codec.encode(replace(t, state=state, next_state=state))
    except InputError:
        return None


def _action(t: Transition, code: Encoded) -> tuple[int, ...]:
    if code.z is None:
        raise InputError(f"episode {t.episode!r} step {t.step}: a rollout needs the action, found none; leave it out")
    return code.z
