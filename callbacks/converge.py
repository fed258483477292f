"""Ends a stage when its learners no longer get better on held-out labels."""

from __future__ import annotations

import logging
from statistics import fmean
from typing import Any

import lightning as L
from torch import Tensor

from swirl_lightning.callbacks.running import running
from swirl_lightning.modules.held_out import chance_of_truth
from swirl_lightning.types import InputError, check_number

log = logging.getLogger(__name__)


class StopConverged(L.Callback):
    """Looks after the stages of the schedule that run ``until: converged``.

    Every so many updates, and before the first, each learner is measured by the mean probability that it gives to the
    true answers of the validation rows. When none has reached a new best in ``patience`` measurements, the stage ends.
    However it ends, each learner then has the weights of its best measurement. Only labelled validation rows are read,
    never the test split.

    Args:
        every_n_updates: updates between two measurements.
        patience: measurements without a new best after which the stage ends.
    """

    def __init__(self, every_n_updates: int = 10, patience: int = 4) -> None:
        check_number("StopConverged.every_n_updates", every_n_updates, least=1)
        check_number("StopConverged.patience", patience, least=1)
        self.every_n_updates = every_n_updates
        self.patience = patience
        self._best: dict[str, float] = {}
        self._best_update: dict[str, int] = {}
        self._best_weights: dict[str, dict[str, Tensor]] = {}
        self._waited = 0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """See that there is something to measure by."""
        loop, _ = running(trainer, pl_module)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if any(named.stage.until for named in loop.schedule) and not data.validation:
            raise InputError(
                "trainer.warmup or trainer.iteration: a stage runs until converged, which labelled validation rows "
                "decide, and there are none; give some, or set its until to null"
            )

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure the weights that the stage begins with: none of its own may be better."""
        self._best, self._best_update, self._best_weights, self._waited = {}, {}, {}, 0
        if running(trainer, pl_module)[0].stage.until:
            self._measure(trainer, pl_module, 0)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure where it is due; end the stage where it is time."""
        loop, module = running(trainer, pl_module)
        if not loop.stage.until:
            return
        made, last = batch_idx + 1, batch_idx + 1 == loop.updates
        if made % self.every_n_updates == 0 or last:
            self._measure(trainer, pl_module, made)
        if self._waited >= self.patience or last:
            if trainer.is_global_zero:
                found = ", ".join(
                    f"{name} best after update {self._best_update[name]} (chance of the true answer {best:.3f})"
                    for name, best in self._best.items()
                )
                end = "converged" if self._waited >= self.patience else "not converged at its last update"
                log.info("%s %s, after %d updates: %s", loop.current.name, end, made, found)
            for name, weights in self._best_weights.items():
                module.weights.restore(name, weights)
            self._best_weights = {}
            if not last:
                loop.end_stage()

    def _measure(self, trainer: L.Trainer, pl_module: L.LightningModule, made: int) -> None:
        loop, module = running(trainer, pl_module)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        learners = loop.current.phase.learning(module)
        self._waited += made > 0
        for name in dict.fromkeys(role.policy.name for role in learners):
            roles = [role for role in learners if role.policy.name == name]  # two where they share their weights
            score = fmean(chance_of_truth(module, role, data.validation, data.eval_batch_size) for role in roles)
            if score > self._best.get(name, -1.0):
                self._best[name], self._best_update[name], self._waited = score, made, 0
                self._best_weights[name] = {key: p.detach().clone() for key, p in module.weights.named(name).items()}

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return {
            "best": self._best,
            "best_update": self._best_update,
            "best_weights": self._best_weights,
            "waited": self._waited,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # noqa: D102
        self._best = state_dict["best"]
        self._best_update = state_dict["best_update"]
        self._best_weights = state_dict["best_weights"]
        self._waited = state_dict["waited"]
