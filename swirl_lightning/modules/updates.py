"""The machinery of one update: gradients, optimiser step, seeds and clocks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from hashlib import blake2b
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor

from swirl_lightning.algorithms.schedules import learning_rate_factor
from swirl_lightning.modules.fwm import ForwardWorldModel
from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.modules.idm import InverseDynamicsModel
from swirl_lightning.modules.processes import average_gradients


class Updates(L.LightningModule):
    """Both roles and how one of them is updated; gradients may come from any number of backward passes."""

    fwm: ForwardWorldModel
    idm: InverseDynamicsModel
    lr_schedule: Literal["constant", "cosine"]
    lr_warmup: int
    gradient_clip: float
    seed: int

    def _begin(self, batch_idx: int) -> None:
        """Start the clocks of update ``batch_idx``."""
        self._update_index = batch_idx
        self._clocks = {"generation": 0.0, "scoring": 0.0, "update": 0.0}

    def _zero_grad(self, role: GRPOMixin) -> None:
        for parameter in role.policy.parameters():
            parameter.grad = None

    def _backward(self, loss: Tensor) -> None:
        """Gradients of this process alone: a collective in every pass would need as many of them everywhere."""
        strategy = self.trainer.strategy
        with strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext():
            self.manual_backward(loss)

    def _step(self, role: GRPOMixin, loss: float) -> float:
        """One step of the role's optimiser on its gradients. Returns their norm before clipping."""
        loop: Any = self.trainer.fit_loop
        optimizers: Any = self.optimizers()
        optimizer = optimizers[(self.fwm, self.idm).index(role)]
        peak = loop.stage.learning_rate or role.learning_rate
        factor = learning_rate_factor(self._update_index, loop.updates, self.lr_warmup, self.lr_schedule)
        for group in optimizer.param_groups:
            group["lr"] = peak * factor
        average_gradients(role.policy.parameters())
        norm = torch.nn.utils.clip_grad_norm_(role.policy.parameters(), self.gradient_clip)
        if not torch.isfinite(norm):
            raise self._diverged(role, f"loss {loss:g} with gradient norm {float(norm):g}")
        optimizer.step()
        return float(norm)

    def _diverged(self, role: GRPOMixin, found: str) -> FloatingPointError:
        loop: Any = self.trainer.fit_loop
        return FloatingPointError(
            f"{loop.current.name} update {self._update_index}: {found}; "
            f"lower model.{role.role}.learning_rate, or use a wider dtype"
        )

    def _seeds(self, purpose: str, count: int) -> list[int]:
        """One seed per prompt, from the position in the run alone: a resumed run draws the same."""
        loop: Any = self.trainer.fit_loop
        place = (self.seed, loop.index, self._update_index, self.global_rank, purpose)
        return [int.from_bytes(blake2b(repr((*place, i)).encode(), digest_size=6).digest()) for i in range(count)]

    @contextmanager
    def _clock(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self._clocks[name] += time.perf_counter() - started

    def _tokens(self) -> tuple[int, int]:
        policies = [policy for role in (self.fwm, self.idm) for policy in (role.policy, role.reference)]
        return sum(p.tokens for p in policies), sum(p.gradient_tokens for p in policies)
