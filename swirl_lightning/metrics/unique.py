"""How varied a model's outputs are."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class UniqueShare(Metric):
    """Number of distinct strings over number of strings, on all processes together; NaN before the first.

    Strings are compared by a 64-bit hash: among a million of them, some two collide with a chance of 3e-8.
    """

    is_differentiable = False
    higher_is_better = None  # a collapse to one answer is bad, but so is noise
    full_state_update = False

    hashes: list[Tensor] | Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("hashes", [], dist_reduce_fx="cat")

    def update(self, predictions: list[str]) -> None:
        """Adds N strings."""
        hashes = [_stable_hash(text) for text in predictions]
        self.hashes.append(torch.tensor(hashes, dtype=torch.long, device=self.device))  # type: ignore[union-attr]

    def compute(self) -> Tensor:
        """The share, in (0, 1], as a float64 scalar."""
        hashes = dim_zero_cat(self.hashes) if len(self.hashes) else torch.empty(0, device=self.device)
        distinct = torch.tensor(len(hashes.unique()), dtype=torch.float64, device=self.device)
        return distinct / len(hashes)

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """As in ``Metric``, but a process without data takes part with an empty tensor of the right type."""
        if isinstance(self.hashes, list) and not self.hashes:
            self.hashes = [torch.empty(0, dtype=torch.long, device=self.device)]
        super().sync(*args, **kwargs)


def _stable_hash(text: str) -> int:
    """The same on every process, unlike Python's own, as a signed 64-bit number."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
