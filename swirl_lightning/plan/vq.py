"""What a VQ network takes of memory beside a language model."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True, slots=True)
class VqMemory:
    """Bytes of a VQ network in float32.

    Args:
        weights: which stay on the device.
        passing: more that it holds while it makes codes of one picture, or a picture of codes.
        side: pixels of that picture's side.
    """

    weights: float
    passing: float
    side: int

    @classmethod
    def of(cls, make: Callable[[], Any], side: int) -> VqMemory:
        """Run the network without numbers.

        Args:
            make: makes it, on torch's default device.
            side: pixels of a picture's side.
        """
        with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
            network = make().to("meta")
            weights = sum(tensor.numel() for tensor in network.state_dict().values()) * 4.0
            cells = side // network.cell
            picture, codes = torch.empty(1, 3, side, side), torch.empty(cells, cells, dtype=torch.long)
            passing = max(most_held(lambda: network.codes(picture)), most_held(lambda: network.picture(codes)))
        return cls(weights, passing, side)


def most_held(run: Callable[[], Any]) -> float:
    """The most bytes that tensors hold together which a function makes; it may run on torch's device ``meta``."""
    with _Held() as held:
        run()
    return float(held.most)


class _Held(TorchDispatchMode):
    """Counts the storages that operations make, until each is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {_storage(x) for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor) and (key := _storage(x)) not in given and key not in self.known:
                size = x.untyped_storage().nbytes()
                self.known.add(key)
                self.now += size
                weakref.finalize(x.untyped_storage(), self._free, key, size)
        self.most = max(self.most, self.now)
        return result

    def _free(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def _storage(x: torch.Tensor) -> int:
    return x.untyped_storage()._cdata
