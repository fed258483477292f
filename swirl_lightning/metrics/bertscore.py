"""BERTScore of predicted next states, with any encoder. Shape letters: N pairs, P and R tokens, D width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from swirl_lightning.metrics.base import PredictionMetric
from swirl_lightning.models.encoder import load_encoder
from swirl_lightning.types import InputError, Prediction, Transition


class BertScore(PredictionMetric):
    """Mean BERTScore F1 between predicted and true next states (arXiv:1904.09675), not rescaled, without idf weights.

    Each token is matched with the most similar one of the other text, by the cosine of their contextual embeddings;
    special tokens neither count nor are matched. A cosine below 0 counts as 0. A text without a token scores 0, and so
    does a next state that is None. Values of different encoders or layers cannot be compared.

    It is computed here and not by torchmetrics 1.9, which pairs predictions with targets of other rows as soon as a
    call has three (issue 2728 there); the tests compare with its value of one pair at a time.

    Args:
        encoder: a folder in the Hugging Face layout, or a name on the hub. It is loaded once per process, is no part
            of a checkpoint, and moves to the device of the run with the first update.
        layer: after which the embeddings are taken, from 0 (before the first); null takes the last.
        max_tokens: longest text; **the rest of a longer one is not compared**.
        batch_size: pairs that are encoded together, which bounds the memory.

    Raises:
        InputError: the encoder cannot be loaded, or has no such layer.
    """

    def __init__(self, encoder: str, layer: int | None = None, max_tokens: int = 512, batch_size: int = 16) -> None:
        super().__init__()
        layers = load_encoder(encoder).layers  # now, and not after the first phase of a run
        if layer is not None and not 0 <= layer <= layers:
            raise InputError(f"layer: found {layer}, expected 0 to {layers}, the layers of {encoder!r}")
        self.encoder = encoder
        self.layer = layers if layer is None else layer
        self.max_tokens = max_tokens
        self.batch_size = batch_size

    def update(self, transitions: Sequence[Transition], predictions: Sequence[Prediction]) -> None:
        """Adds N transitions with what was said of them.

        Raises:
            ValueError: the lists differ in length.
        """
        pairs = zip(transitions, predictions, strict=True)
        decoded = [(p.next_state, t.next_state) for t, p in pairs if p.next_state is not None]
        self.add([0.0] * (len(transitions) - len(decoded)))
        for start in range(0, len(decoded), self.batch_size):
            said, true = zip(*decoded[start : start + self.batch_size], strict=True)
            with torch.autocast(torch.device(self.device).type, enabled=False):  # whatever the precision of the run
                self.add(greedy_match_f1(*self._embed(said), *self._embed(true)))

    def _embed(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        return load_encoder(self.encoder).embed(list(texts), self.layer, self.max_tokens, torch.device(self.device))


def greedy_match_f1(said_NPD: Tensor, said_mask_NP: Tensor, true_NRD: Tensor, true_mask_NR: Tensor) -> Tensor:
    """F1 of the greedy matches (arXiv:1904.09675, equation 1); 0 where a text has no token. [N]

    Args:
        said_NPD: embeddings of length 1 of the tokens of the predictions. [N, P, D]
        said_mask_NP: True on those that count. [N, P]
        true_NRD: the same of the references. [N, R, D]
        true_mask_NR: True on those that count. [N, R]
    """
    counts_NPR = said_mask_NP[:, :, None] & true_mask_NR[:, None, :]
    cosine_NPR = (said_NPD @ true_NRD.mT).clamp_min(0).masked_fill(~counts_NPR, 0.0)
    precision_N = cosine_NPR.amax(2).sum(1) / said_mask_NP.sum(1).clamp_min(1)
    recall_N = cosine_NPR.amax(1).sum(1) / true_mask_NR.sum(1).clamp_min(1)
    both_N = precision_N + recall_N
    return 2 * precision_N * recall_N / both_N.where(both_N > 0, torch.ones_like(both_N))
