"""Open-loop rollouts: the Forward World Model goes on from its own next states through the true actions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import torch

from swirl_lightning.modules.prediction import predict_next
from swirl_lightning.modules.world_model import WorldModel
from swirl_lightning.types import InputError, Transition

Chain = Sequence[Transition]


@torch.no_grad()
def open_loop(model: WorldModel, chains: Sequence[Chain]) -> list[list[str | None]]:
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
    for chain in chains:
        for t in chain:
            if t.action is None:
                raise InputError(
                    f"episode {t.episode!r} step {t.step}: a rollout needs the action, found none; leave it out"
                )
        model.codec.encode(chain[0], keep=False)  # refuses what is too long
    said: list[list[str | None]] = [[] for _ in chains]
    for k in range(max(map(len, chains), default=0)):
        before = {n: chain[0].state if k == 0 else said[n][-1] for n, chain in enumerate(chains) if k < len(chain)}
        after = _step(model, {n: (chains[n][k], state) for n, state in before.items() if state is not None})
        for n in before:
            said[n].append(after.get(n))
    return said


def _step(model: WorldModel, steps: Mapping[int, tuple[Transition, str]]) -> dict[int, str | None]:
    """The next state of each chain from the transition's action and the given state, those of a world together."""
    after: dict[int, str | None] = {}
    for environment in dict.fromkeys(t.environment for t, _ in steps.values()):
        its = {n: step for n, step in steps.items() if step[0].environment == environment}
        states, actions = [state for _, state in its.values()], [t.action or "" for t, _ in its.values()]
        found = predict_next(model, states, actions, environment)
        after |= {n: step.state for n, step in zip(its, found, strict=True)}
    return after


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
