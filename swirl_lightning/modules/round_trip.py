"""From two states to an action and back: what the FWM makes of the IDM's own answer."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from swirl_lightning.modules.world_model import WorldModel
from swirl_lightning.types import Transition


@torch.no_grad()
def round_trip(model: WorldModel, transitions: Sequence[Transition]) -> list[str | None]:
    """The next state that the FWM writes after the action that the IDM names, both greedy. No action is read.

    None stands where an answer has no end within ``max_new_tokens``, or is no valid edit of the state.
    """
    codes = [model.codec.encode(t) for t in transitions]
    actions = model.idm.answer([model.idm.prompt(code, code.given) for code in codes])
    states = model.fwm.answer([model.fwm.prompt(code, z) for code, z in zip(codes, actions.ids, strict=True)])
    return [
        model.fwm.read(model.codec, t, y) if named and ended else None
        for t, y, named, ended in zip(transitions, states.ids, actions.ended, states.ended, strict=True)
    ]
