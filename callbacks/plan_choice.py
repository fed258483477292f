"""How often the plan that was carried out is found among several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from swirl_lightning.callbacks.likeness import likeness
from swirl_lightning.callbacks.tested import TestedOnce
from swirl_lightning.environments.splits import take_turns
from swirl_lightning.metrics.choice import ChoiceAccuracy, Plans
from swirl_lightning.modules import SWIRL
from swirl_lightning.modules.plan_choice import plan_likelihoods, plan_similarities
from swirl_lightning.types import InputError, check_number


class PlanChoice(TestedOnce):
    """Choice among plans, as WorldPrediction asks for, with ``swirl test``.

    ``fwm/choice_likelihood``: the plan under which the FWM finds what was seen most probable.
    ``idm/choice_likelihood``: the plan whose actions the IDM finds most probable, given what was seen.
    ``fwm/choice_similarity``: the plan by which the FWM, going on from its own next states, comes nearest to the last
    state that was seen. ``fwm/choice_chance``: what guessing gives.

    Args:
        samples: so many at most, spread over the subsets, always the same ones.
        clip: a CLIP model, by its folder or its name on the hub, for the similarity; null compares pixels.
        rollouts: measure ``fwm/choice_similarity`` too, which writes every state of every plan.
    """

    def __init__(self, samples: int = 100, clip: str | None = None, rollouts: bool = True) -> None:
        check_number("PlanChoice.samples", samples, least=1)
        self.samples = samples
        self.clip = clip
        self.metrics = {
            "fwm/choice_likelihood": ChoiceAccuracy("fwm"),
            "idm/choice_likelihood": ChoiceAccuracy("idm"),
            "fwm/choice_chance": ChoiceAccuracy("chance"),
        }
        if rollouts:
            self.metrics["fwm/choice_similarity"] = ChoiceAccuracy("similarity")

    def items(self, data: Any) -> list[Plans]:
        """The plans of the data module."""
        found: list[Plans] | None = getattr(data, "plans", None)
        if not found:
            raise InputError(
                f"PlanChoice: found no plans in {type(data).__name__}, expected data with plans, such as "
                "WorldPredictionDataModule; leave out the callback"
            )
        return take_turns(found, lambda plans: plans.episode[0].environment, "plan choice")[: self.samples]

    def count(self, module: SWIRL, items: list[Plans]) -> None:
        """Score the plans of each sample."""
        alike: Callable[[str, str], float] = likeness(self.clip, torch.device(module.device))
        for plans in items:
            scores = {
                "fwm/choice_likelihood": plan_likelihoods(module, plans, "fwm"),
                "idm/choice_likelihood": plan_likelihoods(module, plans, "idm"),
                "fwm/choice_chance": [0.0] * len(plans.candidates),
            }
            if "fwm/choice_similarity" in self.metrics:
                scores["fwm/choice_similarity"] = plan_similarities(module, plans, alike)
            for name, its in scores.items():
                self.metrics[name].update([its], [plans.truth])
