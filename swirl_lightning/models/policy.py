"""A policy: one named weight set, with the three things that GRPO asks of it: completions, log-probs, a snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from swirl_lightning.algorithms.logprobs import token_logprobs
from swirl_lightning.models.sampling import Sampling, sample
from swirl_lightning.models.shared_prefix import encode_prefix, extend, pad
from swirl_lightning.models.weights import Weights
from swirl_lightning.types import Ids, Rollouts


class Scores(NamedTuple):
    """Log-probabilities of the scored tokens of N rows.

    Args:
        logp: of each token given all before it; 0 where ``mask`` is False. [N, T]
        entropy: of the distribution it comes from, in nats, without gradient. [N, T]
        mask: True on scored tokens. [N, T]
    """

    logp: Tensor
    entropy: Tensor
    mask: Tensor


class Policy:
    """The weight set ``name`` of ``weights``.

    Args:
        weights: all the sets of the run.
        name: this policy's set.
        eos: the id that ends a completion.
    """

    def __init__(self, weights: Weights, name: str, eos: int) -> None:
        self.weights = weights
        self.name = name
        self.eos = eos
        self.tokens = 0
        self.gradient_tokens = 0

    def generate(
        self, prompts: Sequence[Ids], seeds: Sequence[int], *, group_size: int, max_tokens: int, sampling: Sampling
    ) -> Rollouts:
        """``group_size`` completions of each prompt; see :func:`swirl_lightning.models.sampling.sample`."""
        rollouts = sample(
            self.weights.activate(self.name), prompts, seeds,
            group_size=group_size, max_tokens=max_tokens, eos=self.eos, sampling=sampling,
        )  # fmt: skip
        self._count(prompts, int(rollouts.mask.sum()))
        return rollouts

    def logprobs(
        self,
        prompts: Sequence[Ids],
        prompt_of_N: Tensor,
        rows: Sequence[Ids],
        scored: Sequence[int],
        *,
        temperature: float = 1.0,
        support: Tensor | None = None,
    ) -> Scores:
        """Log-probs of the last ``scored[n]`` tokens of each row, which continues prompt ``prompt_of_N[n]``.

        Every prompt passes through the model once, whatever the number of rows that share it.

        Args:
            prompts: P prompts as ids.
            prompt_of_N: prompt of each row. [N]
            rows: N rows of ids that follow their prompt.
            scored: how many tokens at the end of each row are scored.
            temperature: of the distribution.
            support: ids the distribution is restricted to, at each token of each row, padded with -1. [N, T, K]
        """
        model = self.weights.activate(self.name)
        ids_NT, row_mask_NT = pad(rows, model.device)
        lengths_N = row_mask_NT.sum(1)
        first_N = lengths_N - torch.tensor(scored, device=model.device)
        positions_T = torch.arange(ids_NT.shape[1], device=model.device)
        mask_NT = row_mask_NT & (positions_T >= first_N[:, None])
        hidden_NTD = extend(model, encode_prefix(model, prompts), prompt_of_N.to(model.device), ids_NT, row_mask_NT)
        head = model.get_output_embeddings()
        logp_M, entropy_M = token_logprobs(
            hidden_NTD[mask_NT], head.weight, ids_NT[mask_NT], bias_V=head.bias,
            temperature=temperature, support_MK=None if support is None else support[mask_NT],
        )  # fmt: skip
        self._count(prompts, int(lengths_N.sum()))
        zeros_NT = torch.zeros(mask_NT.shape, device=model.device)
        return Scores(
            logp=zeros_NT.masked_scatter(mask_NT, logp_M.float()),
            entropy=zeros_NT.masked_scatter(mask_NT, entropy_M.float()),
            mask=mask_NT,
        )

    def parameters(self) -> list[torch.nn.Parameter]:
        """This policy's trainable weights."""
        return list(self.weights.named(self.name).values())

    def _count(self, prompts: Sequence[Ids], tokens: int) -> None:
        tokens += sum(map(len, prompts))
        self.tokens += tokens
        if torch.is_grad_enabled():
            self.gradient_tokens += tokens
