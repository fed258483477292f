"""Held-out metrics of both roles, with greedy decoding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from swirl_lightning.algorithms.objectives import row_mean
from swirl_lightning.metrics import DeltaF1, ExactMatch, MeanLogProb, PredictionMetric, TokenF1, UniqueShare
from swirl_lightning.metrics.overlap import is_exact
from swirl_lightning.models import Policy
from swirl_lightning.modules.grpo_mixin import target_logprobs
from swirl_lightning.modules.world_model import WorldModel
from swirl_lightning.types import Ids, InputError, Prediction, Role, Transition


@dataclass(frozen=True)
class Answers:
    """What both roles say of N labelled transitions, and the log-probs of the truth with their masks, each [N, T].

    ``comparable`` are the transitions with states in the form that the FWM writes, which may equal its predictions.
    ``base_logp`` is of the IDM's actions under a model that no phase trains.
    """

    transitions: Sequence[Transition]
    comparable: Sequence[Transition]
    predictions: Sequence[Prediction]
    fwm_logp: tuple[Tensor, Tensor]
    idm_logp: tuple[Tensor, Tensor]
    base_logp: tuple[Tensor, Tensor] | None

    def of(self, environment: str) -> Answers:
        """Those of one environment."""
        rows = [n for n, t in enumerate(self.transitions) if t.environment == environment]
        logps = (self.fwm_logp, self.idm_logp, self.base_logp)
        return Answers(
            [self.transitions[n] for n in rows],
            [self.comparable[n] for n in rows],
            [self.predictions[n] for n in rows],
            *((pair[0][rows], pair[1][rows]) if pair else pair for pair in logps),  # type: ignore[arg-type]
        )


class RoleAnswers(NamedTuple):
    """What one role says of N transitions, and the log-probs of the truth with their mask, each [N, T]."""

    said: list[Ids]
    logp: tuple[Tensor, Tensor]
    base_logp: tuple[Tensor, Tensor] | None = None


class EnvironmentMetrics(nn.Module):
    """The metrics of one environment, or of all together.

    Args:
        own: what the environment adds.
        base: whether the IDM's actions are scored by an untrained model too.
    """

    def __init__(self, own: Mapping[str, PredictionMetric], base: bool) -> None:
        super().__init__()
        self.own = nn.ModuleDict(own)
        self.metrics = nn.ModuleDict(
            {
                "fwm_exact_match": ExactMatch(),
                "fwm_changed_exact_match": ExactMatch(),  # of the transitions in which something changes
                "fwm_copied": ExactMatch(),  # of these, the share that is answered by the state as it was
                "fwm_copy_exact_match": ExactMatch(),  # what a model that always answers so would get
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

    def update(self, answers: Answers) -> None:
        """Count the answers."""
        transitions, predictions = answers.comparable, answers.predictions
        if not transitions:
            return
        actions, next_states = [p.action for p in predictions], [p.next_state for p in predictions]
        true_actions, true_states = [t.action or "" for t in transitions], [t.next_state for t in transitions]
        states = [t.state for t in transitions]
        changed = [n for n, t in enumerate(transitions) if t.state.strip() != t.next_state.strip()]
        said = [next_states[n] for n in changed]
        self["fwm_exact_match"].update(next_states, true_states)
        self["fwm_changed_exact_match"].update(said, [true_states[n] for n in changed])
        self["fwm_copied"].update(said, [states[n] for n in changed])
        self["fwm_copy_exact_match"].update(states, true_states)
        self["fwm_token_f1"].update(next_states, true_states)
        self["fwm_delta_f1"].update(states, next_states, true_states)
        self["fwm_logp"].update(*answers.fwm_logp)
        self["idm_exact_match"].update(actions, true_actions)
        self["idm_token_f1"].update(actions, true_actions)
        self["idm_logp"].update(*answers.idm_logp)
        self["idm_unique"].update(actions)
        if answers.base_logp:
            self["idm_base_logp"].update(*answers.base_logp)
        for metric in self.own.values():
            assert isinstance(metric, PredictionMetric)
            metric.update(answers.transitions, predictions)

    def compute(self) -> dict[str, float]:
        """The metrics over all processes, named ``fwm/...`` and ``idm/...``; resets the counters."""
        values = {}
        for name, metric in [*self.metrics.items(), *self.own.items()]:
            assert isinstance(metric, Metric)
            values[name.replace("_", "/", 1)] = float(metric.compute())
            metric.reset()
        return values


class Evaluation(nn.Module):
    """Accumulates the metrics of one split; where it has several environments, of each of them too.

    Args:
        base: a model that no phase trains, whose log-prob of the IDM's actions shows a drift into strings that only
            the FWM likes; None where there is no such model.
        own: the metrics that each environment adds.

    ``rows`` holds what this process has counted of each transition, in their order.
    """

    def __init__(self, base: Policy | None = None, own: Mapping[str, Mapping[str, PredictionMetric]] = {}) -> None:
        super().__init__()
        self.base = base
        self.together = EnvironmentMetrics(deepcopy(_common(list(own.values()))), base is not None)
        self.each = {name: EnvironmentMetrics(its, base is not None) for name, its in own.items() if len(own) > 1}
        self.all = nn.ModuleList([self.together, *self.each.values()])
        self.rows: list[dict[str, float]] = []
        self._kept: dict[object, tuple[bytes, RoleAnswers]] = {}

    @torch.no_grad()
    def update(
        self, model: WorldModel, transitions: Sequence[Transition], weights: Mapping[Role, bytes] | None = None
    ) -> list[Prediction]:
        """Let both roles answer labelled transitions and count.

        Args:
            model: both roles, set up.
            transitions: N transitions.
            weights: fingerprints of both roles; a role that comes with the same one at a later call gives the same
                answers without being asked, for most phases train one role alone.

        Raises:
            InputError: if a transition has no action to compare with.
        """
        codes = [model.codec.encode(t) for t in transitions]
        for t, code in zip(transitions, codes, strict=True):
            if code.z is None:
                raise InputError(f"episode {t.episode!r} step {t.step}: evaluation needs the action, found none")
        zs, ys = [code.z or () for code in codes], [code.y for code in codes]
        forward = [model.fwm.prompt(code, z) for code, z in zip(codes, zs, strict=True)]
        inverse = [model.idm.prompt(code, code.given) for code in codes]
        priors = [code.prompts.prior(code.x) for code in codes]

        def ask_idm() -> RoleAnswers:
            said, truth = model.idm.examine(inverse, zs)
            base = target_logprobs(self.base, priors, said) if self.base else None
            return RoleAnswers(said, (truth.logp, truth.mask), base)

        def ask_fwm() -> RoleAnswers:
            said, truth = model.fwm.examine(forward, ys)
            return RoleAnswers(said, (truth.logp, truth.mask))

        if weights:
            which = tuple((t.environment, t.episode, t.step) for t in transitions)
            idm = self._unless_kept(("idm", which), weights["idm"], ask_idm)
            fwm = self._unless_kept(("fwm", which), weights["fwm"], ask_fwm)
        else:
            idm, fwm = ask_idm(), ask_fwm()
        predictions = [
            Prediction(model.codec.action(z), model.codec.next_state(t.state, y))
            for t, z, y in zip(transitions, idm.said, fwm.said, strict=True)
        ]
        comparable = model.codec.compared(transitions)
        self.rows += [
            {
                "fwm/exact_match": is_exact(said.next_state, t.next_state),
                "idm/exact_match": is_exact(said.action, t.action or ""),
                "fwm/logp": fwm_logp,
                "idm/logp": idm_logp,
            }
            for t, said, fwm_logp, idm_logp in zip(
                comparable, predictions, row_mean(*fwm.logp).tolist(), row_mean(*idm.logp).tolist(), strict=True
            )
        ]
        answers = Answers(transitions, comparable, predictions, fwm.logp, idm.logp, idm.base_logp)
        self.together.update(answers)
        for name, metrics in self.each.items():
            metrics.update(answers.of(name))
        return predictions

    def compute(self) -> dict[str, float]:
        """The metrics over all processes; those of one of several environments begin with its name. Begins anew."""
        self.rows = []
        values = self.together.compute()
        for name, metrics in self.each.items():
            values |= {f"{name}/{key}": value for key, value in metrics.compute().items()}
        return values

    def _unless_kept(self, key: object, weights: bytes, ask: Callable[[], RoleAnswers]) -> RoleAnswers:
        """What was answered with these very weights, or a new answer."""
        before = self._kept.get(key)
        if before is None or before[0] != weights:
            before = self._kept[key] = (weights, ask())
        return before[1]


def _common(own: Sequence[Mapping[str, PredictionMetric]]) -> dict[str, PredictionMetric]:
    """What is counted of all environments together: the metrics that each of them has, as subsets of a benchmark do."""
    first, *others = own or [{}]
    return {
        name: metric for name, metric in first.items() if all(type(its.get(name)) is type(metric) for its in others)
    }


def fingerprint(policy: Policy) -> bytes:
    """The same for the same weights, to the bit."""
    digest = blake2b(digest_size=16)
    for parameter in policy.parameters():
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.digest()
