"""One optimiser step after the other: learning rate, gradients of all processes, clipping; seeds and clocks."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import torch

from swirl_lightning.algorithms.schedules import learning_rate_factor
from swirl_lightning.models.optimizers import OptimizerOptions
from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.modules.processes import average_gradients
from swirl_lightning.types import Role


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the run an update stands.

    Args:
        stage: number of the stage in the schedule, from 0.
        name: of the stage.
        update: number of the update within the stage, from 0.
        updates: of the stage.
        learning_rate: the stage's own peak; None takes the role's.
        rank: of this process.
        lr_warmup: the stage's own updates of warm-up, or their share of it where it is below 1; None takes the
            optimiser's.
        constant: whether the learning rate stays at its peak, whatever the optimiser's shape.
    """

    stage: int
    name: str
    update: int
    updates: int
    learning_rate: float | None = None
    rank: int = 0
    lr_warmup: float | None = None
    constant: bool = False


class Updates:
    """The optimiser steps of a run, on gradients that may come from any number of backward passes.

    Args:
        options: of the optimisers.
        seed: of the run.
    """

    optimizers: Mapping[Role, Any]
    place: Place

    def __init__(self, options: OptimizerOptions, seed: int) -> None:
        self.options = options
        self.seed = seed
        self.seconds: dict[str, float] = {}

    def begin(self, place: Place, optimizers: Mapping[Role, Any]) -> None:
        """Come to the update at ``place`` and start its clocks."""
        self.place = place
        self.optimizers = optimizers
        self.seconds = {"generation": 0.0, "scoring": 0.0, "update": 0.0}

    def zero_grad(self, role: GRPOMixin) -> None:
        """Drop the role's gradients."""
        for parameter in role.policy.parameters():
            parameter.grad = None

    def step(self, role: GRPOMixin, loss: float) -> float:
        """One step of the role's optimiser on its gradients. Returns their norm before clipping.

        Raises:
            FloatingPointError: the norm is not finite.
        """
        place, options, optimizer = self.place, self.options, self.optimizers[role.role]
        warmup = options.lr_warmup if place.lr_warmup is None else place.lr_warmup
        warmup = math.ceil(warmup * place.updates) if warmup < 1 else round(warmup)
        shape = "constant" if place.constant else options.lr_schedule
        factor = learning_rate_factor(place.update, place.updates, warmup, shape)
        for group in optimizer.param_groups:
            group["lr"] = (place.learning_rate or role.learning_rate) * factor
        average_gradients(role.policy.parameters())
        norm = torch.nn.utils.clip_grad_norm_(role.policy.parameters(), options.gradient_clip)
        if not torch.isfinite(norm):
            raise self.diverged(role, f"loss {loss:g} with gradient norm {float(norm):g}")
        optimizer.step()
        return float(norm)

    def diverged(self, role: GRPOMixin, found: str) -> FloatingPointError:
        """The error that ends a run whose numbers are no longer finite."""
        return FloatingPointError(
            f"{self.place.name} update {self.place.update}: {found}; "
            f"lower model.{role.role}.learning_rate, or use a wider dtype"
        )

    def seeds(self, purpose: str, count: int) -> list[int]:
        """One seed per prompt of this process, which has as many as the others.

        It follows from the place in the run and in the batch of all processes: a resumed run draws the same, and so
        does another number of processes on the same batch.
        """
        place = (self.seed, self.place.stage, self.place.update, 0, purpose)
        own = range(self.place.rank * count, (self.place.rank + 1) * count)
        return [int.from_bytes(blake2b(repr((*place, i)).encode(), digest_size=6).digest()) for i in own]

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        """Add the time that passes to ``seconds[name]``."""
        started = time.perf_counter()
        yield
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self.seconds[name] += time.perf_counter() - started
