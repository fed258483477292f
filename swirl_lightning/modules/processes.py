"""What an update must know of the other processes' share of its batch; without others, nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ParallelStrategy, Strategy
from torch import Tensor

T = TypeVar("T")


def mean_over_processes(x: float, device: torch.device) -> float:
    """The mean of x over the processes.

    Gradients are averaged over the processes. A loss divided by the mean of the processes' normalisers therefore has
    the gradient of the whole batch, however the batch was shared out.
    """
    if not dist.is_initialized():
        return x
    total = torch.tensor(x, device=device)
    dist.all_reduce(total)
    return float(total) / dist.get_world_size()


def gather(x: Tensor) -> tuple[Tensor, int]:
    """The tensors of all processes, which have one shape, joined along the first dimension, and where ours begins."""
    if not dist.is_initialized():
        return x, 0
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts), dist.get_rank() * len(x)


def mean_figures(figures: Mapping[str, float], device: torch.device, summed: Collection[str]) -> dict[str, float]:
    """The mean of each figure over the processes, which have the same ones.

    Args:
        figures: of this process.
        device: where the processes exchange them.
        summed: those whose sum is wanted.
    """
    if not dist.is_initialized():
        return dict(figures)
    total = torch.tensor(list(figures.values()), dtype=torch.float64, device=device)
    dist.all_reduce(total)
    counts = [1 if name in summed else dist.get_world_size() for name in figures]
    return {name: value / count for name, value, count in zip(figures, total.tolist(), counts, strict=True)}


def in_any(flag: Tensor) -> bool:
    """Whether a flag is set in any of the processes, so that all of them stop where one must."""
    if dist.is_initialized():
        flag = flag.to(torch.uint8)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)


def place() -> tuple[int, int]:
    """The number of this process, from 0, and that of all."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def gather_objects(x: T) -> list[T]:
    """What all processes have, in their order."""
    if not dist.is_initialized():
        return [x]
    found: list[T | None] = [None] * dist.get_world_size()
    dist.all_gather_object(found, x)
    return found  # type: ignore[return-value]


def of_the_first(make: Callable[[], T]) -> T:
    """What the first process makes, for all: they need not make the same, a network trained on a GPU for one."""
    if not dist.is_initialized():
        return make()
    made = [make() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(made)
    return made[0]  # type: ignore[return-value]


def own_gradients(strategy: Strategy) -> AbstractContextManager[Any]:
    """Backward passes give this process's gradients alone: their number differs from process to process."""
    return strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext()


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Give every process the mean of all processes' gradients; a parameter that one of them did not use counts as 0."""
    if not dist.is_initialized():
        return
    own = list(parameters)
    for parameter in own:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for kind in dict.fromkeys(parameter.dtype for parameter in own):  # one, as a rule, and so one call
        grads = [parameter.grad for parameter in own if parameter.dtype == kind and parameter.grad is not None]
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for grad, mean in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(mean.view_as(grad))
