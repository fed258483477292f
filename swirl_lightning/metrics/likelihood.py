"""How probable the truth is under a model. Shape letters: N sequences, T tokens."""

from __future__ import annotations

from torch import Tensor

from swirl_lightning.metrics.base import MeanScore


class MeanLogProb(MeanScore):
    """Mean over sequences of the mean log-probability per token, in nats per token: each sequence weighs the same."""

    def update(self, logp_NT: Tensor, mask_NT: Tensor) -> None:
        """Adds N sequences.

        Args:
            logp_NT: log-probability of each token of the truth; what the mask leaves out may be anything. [N, T]
            mask_NT: True on the tokens that count. [N, T]

        Raises:
            ValueError: the shapes differ or are not [N, T], or a sequence has no token.
        """
        if logp_NT.ndim != 2 or logp_NT.shape != mask_NT.shape:
            raise ValueError(f"expected two [N, T] tensors; got {list(logp_NT.shape)} and {list(mask_NT.shape)}")
        mask_NT = mask_NT.bool()
        tokens_N = mask_NT.sum(dim=1)
        if not tokens_N.all():
            raise ValueError(f"sequence {tokens_N.argmin().item()} of {len(tokens_N)} has no token in the mask")
        self.add(logp_NT.double().masked_fill(~mask_NT, 0.0).sum(dim=1) / tokens_N)
