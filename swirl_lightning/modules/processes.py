"""What an update must know of the other processes' share of its batch; without others, nothing changes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


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


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Give every process the mean of all processes' gradients; a parameter that one of them did not use counts as 0."""
    if not dist.is_initialized():
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)
        parameter.grad /= dist.get_world_size()
