"""Held-out metrics of both roles, with greedy decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torchmetrics import Metric

from swirl_lightning.metrics import DeltaF1, ExactMatch, MeanLogProb, TokenF1, UniqueShare
from swirl_lightning.models import Policy
from swirl_lightning.modules.grpo_mixin import target_logprobs
from swirl_lightning.types import InputError, Transition

if TYPE_CHECKING:
    from swirl_lightning.modules.swirl import SWIRL


class Prediction(NamedTuple):
    """What both roles say of one transition: the IDM of (x, y), the FWM of (x, z)."""

    action: str
    next_state: str | None


class Evaluation(nn.Module):
    """Accumulates the metrics of one split.

    Args:
        base: a model that no phase trains, whose log-prob of the IDM's actions shows a drift into strings that only
            the FWM likes; None where there is no such model.
    """

    def __init__(self, base: Policy | None = None) -> None:
        super().__init__()
        self.base = base
        self.metrics = nn.ModuleDict(
            {
                "fwm_exact_match": ExactMatch(),
                "fwm_token_f1": TokenF1(),
                "fwm_delta_f1": DeltaF1(),
                "fwm_logp": MeanLogProb(),
                "idm_exact_match": ExactMatch(),
                "idm_token_f1": TokenF1(),
                "idm_logp": MeanLogProb(),
                "idm_unique": UniqueShare(),
            }
        )
        if base:
            self.metrics["idm_base_logp"] = MeanLogProb()

    def __getitem__(self, name: str) -> Metric:
        metric = self.metrics[name]
        assert isinstance(metric, Metric)
        return metric

    @torch.no_grad()
    def update(self, model: SWIRL, transitions: Sequence[Transition]) -> list[Prediction]:
        """Let both roles answer labelled transitions and count.

        Raises:
            InputError: if a transition has no action to compare with.
        """
        codes = [model.codec.encode(t) for t in transitions]
        for t, code in zip(transitions, codes, strict=True):
            if code.z is None:
                raise InputError(f"episode {t.episode!r} step {t.step}: evaluation needs the action, found none")
        zs, ys = [code.z or () for code in codes], [code.y for code in codes]
        layout = model.codec.prompts
        forward = [model.fwm.prompt(layout, code.x, z) for code, z in zip(codes, zs, strict=True)]
        inverse = [model.idm.prompt(layout, code.x, y) for code, y in zip(codes, ys, strict=True)]
        said_zs, said_ys = model.idm.answer(inverse)[0], model.fwm.answer(forward)[0]
        predictions = [
            Prediction(model.codec.action(z), model.codec.next_state(t.state, y))
            for t, z, y in zip(transitions, said_zs, said_ys, strict=True)
        ]
        actions, next_states = [p.action for p in predictions], [p.next_state for p in predictions]
        true_actions, true_states = [t.action or "" for t in transitions], [t.next_state for t in transitions]
        self["fwm_exact_match"].update(next_states, true_states)
        self["fwm_token_f1"].update(next_states, true_states)
        self["fwm_delta_f1"].update([t.state for t in transitions], next_states, true_states)
        self["fwm_logp"].update(*target_logprobs(model.fwm.policy, forward, ys))
        self["idm_exact_match"].update(actions, true_actions)
        self["idm_token_f1"].update(actions, true_actions)
        self["idm_logp"].update(*target_logprobs(model.idm.policy, inverse, zs))
        self["idm_unique"].update(actions)
        if self.base:
            priors = [layout.prior(code.x) for code in codes]
            self["idm_base_logp"].update(*target_logprobs(self.base, priors, said_zs))
        return predictions

    def compute(self) -> dict[str, float]:
        """The metrics over all processes, named ``fwm/...`` and ``idm/...``; resets the counters."""
        values = {}
        for name in self.metrics:
            values[name.replace("_", "/", 1)] = float(self[name].compute())
            self[name].reset()
        return values
