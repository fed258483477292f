"""The sizes of a run, and the passes that its phases are made of, each at the longest that the options allow."""

from __future__ import annotations

from dataclasses import dataclass, replace

from swirl_lightning.plan.passes import Pass
from swirl_lightning.types import Role


@dataclass(frozen=True)
class RoleShape:
    """What of a role's options decides how much memory it takes.

    Args:
        name: of the role.
        group_size: completions per prompt.
        max_new_tokens: longest completion.
        truncated: whether top-p or top-k leave a support.
        compared: whether log-probs beside the policy's own are needed: for a KL term, or several inner steps.
        anchored: whether labels stand beside the RL loss.
        choices: ids that it may write; None: all.
        lessons: texts that it learns from one labelled transition.
    """

    name: Role
    group_size: int
    max_new_tokens: int
    truncated: bool
    compared: bool
    anchored: bool
    choices: int | None = None
    lessons: int = 1


@dataclass(frozen=True)
class RunShape:
    """What of a run's options decides how much memory it takes, beside the model.

    Args:
        fwm: the Forward World Model's.
        idm: the Inverse Dynamics Model's.
        max_tokens: longest prompt and completion together.
        latent_sampled: whether the IDM's actions are drawn, not its most probable ones.
        bootstrap: whether the VIM phase has a supervised loss on the IDM's actions.
        exact_rewards: whether rewards are scored in float32 on a base of half precision.
        whole_states: whether the IDM reads whole next states, whatever the FWM writes.
    """

    fwm: RoleShape
    idm: RoleShape
    max_tokens: int
    latent_sampled: bool
    bootstrap: bool
    exact_rewards: bool = True
    whole_states: bool = False

    def reinforce(self, learner: RoleShape, scorer: RoleShape, batch_size: int, shown: int = 0) -> list[Pass]:
        """A GRPO update: sample, score, compare with the reference, learn.

        Args:
            learner: the role that learns.
            scorer: the role that judges.
            batch_size: prompts.
            shown: labelled transitions beside the samples that the learner is shown.
        """
        samples = Pass(
            "generation", f"{learner.name} samples", batch_size, learner.group_size, self.max_tokens,
            learner.max_new_tokens, truncated=learner.truncated, choices=learner.choices,
        )  # fmt: skip
        read = self.max_tokens if self.whole_states and learner is self.fwm else samples.row
        asked = replace(
            samples, kind="scoring", name=f"{scorer.name} rewards", row=read + scorer.max_new_tokens,
            exact=self.exact_rewards, choices=scorer.choices,
        )  # fmt: skip
        compared = [replace(samples, kind="scoring", name="reference")] if learner.compared else []
        beside = replace(self.on_labels(learner, shown), prompt=self.max_tokens) if shown else None
        return [
            samples,
            asked,
            *compared,
            replace(samples, kind="update", name=f"{learner.name} learns", beside=beside),
        ]

    def latent_actions(self, batch_size: int) -> Pass:
        """The IDM's own action for each transition."""
        truncated = self.latent_sampled and self.idm.truncated
        return Pass(
            "generation", "latent actions", batch_size, 1, self.max_tokens, self.idm.max_new_tokens,
            truncated=truncated, choices=self.idm.choices,
        )  # fmt: skip

    def on_labels(self, role: RoleShape, labels: int) -> Pass:
        """A supervised update of a role on so many labelled transitions."""
        row, texts = min(role.max_new_tokens, self.max_tokens - 1), labels * role.lessons
        return Pass("update", f"{role.name} on labels", texts, 1, self.max_tokens - row, row, choices=role.choices)

    def evaluation(self, batch_size: int) -> list[Pass]:
        """Greedy answers and the log-probs of the true ones, of both roles."""
        passes = []
        for role in (self.fwm, self.idm):
            row = min(role.max_new_tokens, self.max_tokens - 1)
            answers = Pass(
                "generation", f"{role.name} answers", batch_size, 1, self.max_tokens, role.max_new_tokens, learners=2,
                choices=role.choices,
            )  # fmt: skip
            targets = Pass(
                "scoring", f"{role.name} log-probs", batch_size, 1, self.max_tokens - row, row, learners=2,
                choices=role.choices,
            )  # fmt: skip
            passes += [answers, targets]
        return passes
