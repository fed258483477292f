"""The figures of every update, and a word when a phase shows signs of collapse."""

from __future__ import annotations

import logging
from statistics import fmean
from typing import Any

import lightning as L

from swirl_lightning.callbacks.running import running
from swirl_lightning.types import check_number

log = logging.getLogger(__name__)
MOST_COPIED = 0.5


class PhaseMonitor(L.Callback):
    """Logs each update as ``<phase>/<figure>`` and watches for collapse (arXiv:2602.06130, section 5).

    After a phase that is evaluated it also warns of a FWM that leaves most states as they were.

    Logged in the RL phases: reward and its standard deviation within groups, groups without any, share of distinct
    completions, their length and the share cut off, KL, entropy, clip fraction, gradient norm, an estimate of the
    phase's bound (docs/implementation_details.md says when it is one), tokens per second and the shares of time in
    generation, scoring and update.

    Args:
        last: updates at the end of a phase that are judged together.
        max_zero_variance: warn above this share of groups whose rewards are all equal: they teach nothing.
        max_truncated: warn above this share of completions without an end token.
        min_entropy: warn below this entropy of the learner, in nats per token.
        min_length: warn where completions shrink below this share of the length that they had in the first update.
        stop: end a phase as soon as its last ``last`` updates give reason for such a warning.
    """

    def __init__(
        self,
        last: int = 20,
        max_zero_variance: float = 0.95,
        max_truncated: float = 0.2,
        min_entropy: float = 1e-3,
        min_length: float = 0.5,
        stop: bool = False,
    ) -> None:
        check_number("PhaseMonitor.last", last, least=1)
        check_number("PhaseMonitor.max_zero_variance", max_zero_variance)
        check_number("PhaseMonitor.max_truncated", max_truncated)
        check_number("PhaseMonitor.min_entropy", min_entropy)
        check_number("PhaseMonitor.min_length", min_length, least=0, most=1)
        self.last = last
        self.stop = stop
        self.min_length = min_length
        self.limits = {
            "zero_variance_groups": (max_zero_variance, 1, "no group tells good from bad: raise temperature"),
            "truncated_share": (max_truncated, 1, "completions run on without an end: raise max_new_tokens or beta"),
            "entropy": (min_entropy, -1, "the policy has all but stopped exploring: raise beta or lower learning_rate"),
        }
        self._recent: list[dict[str, float]] = []
        self._first: dict[str, float] = {}

    def on_train_epoch_start(self, *args: Any) -> None:  # noqa: D102
        self._recent, self._first = [], {}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log what the update returned."""
        loop, _ = running(trainer, pl_module)
        metrics = outputs["metrics"]
        figures = {name: metrics[name] for name in (*self.limits, "completion_length") if name in metrics}
        self._first = self._first or figures
        self._recent = [*self._recent, figures][-self.last :]
        if (batch_idx + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            named = {f"{loop.current.phase.name}/{name}": float(value) for name, value in metrics.items()}
            pl_module.log_dict(named, batch_size=len(batch))
        if self.stop and len(self._recent) == self.last and batch_idx + 1 < loop.updates and self._signs():
            if trainer.is_global_zero:
                log.warning(f"{loop.current.name} ends early, after {batch_idx + 1} of {loop.updates} updates")
            loop.end_stage()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Judge the end of the phase."""
        loop, module = running(trainer, pl_module)
        copied = module.results.get("test", {}).get("fwm/copied", 0.0) if loop.finished.phase.answers else 0.0
        if trainer.is_global_zero and copied > MOST_COPIED:
            log.warning(
                f"{loop.finished.name}: the FWM answers {copied:.0%} of the test transitions in which something "
                "changes with the state as it was; its exact match may be that of a copy (fwm/copy_exact_match)"
            )
        if trainer.is_global_zero:
            for sign in self._signs():
                log.warning(f"{loop.finished.name}: {sign}")

    def _signs(self) -> list[str]:
        """What the last updates show of a collapse, in words."""
        least = self.min_length * self._first.get("completion_length", 0.0)
        limits = self.limits | {
            "completion_length": (
                least,
                -1,
                "completions shrink: ask for the whole next state too (model.vim_reward), or raise beta",
            )
        }
        signs = []
        for name, (limit, sign, advice) in limits.items():
            values = [metrics[name] for metrics in self._recent if name in metrics]
            if values and sign * fmean(values) > sign * limit:
                side = "above" if sign > 0 else "below"
                signs.append(
                    f"{name} is {fmean(values):.3g} over the last {len(values)} updates ({side} {limit:.3g}); {advice}"
                )
        return signs

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return {"recent": self._recent, "first": self._first}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # noqa: D102
        self._recent, self._first = state_dict["recent"], state_dict["first"]
