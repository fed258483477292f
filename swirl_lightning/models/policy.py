"""A policy: one named weight set, with the three things that GRPO asks of it: completions, log-probs, a snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from swirl_lightning.algorithms.logprobs import token_logprobs
from swirl_lightning.models.sampling import Sampling, sample
from swirl_lightning.models.shared_prefix import encode_prefix, extend, pad, plain
from swirl_lightning.models.weights import Weights
from swirl_lightning.types import Ids, Rollouts


class Scores(NamedTuple):
    """Log-probabilities of the scored tokens of N rows, T at most.

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
        self.tokens += int(rollouts.mask.sum()) + sum(map(len, prompts))
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
            support: ids the distribution is restricted to, at each scored token, padded with -1. [N, T, K]

        Returns:
            Scores whose column t is the t-th scored token of the row.
        """
        model = self.weights.activate(self.name)
        if len(rows) == len(prompts):  # nothing is shared: one pass over whole rows in place of two
            rows = [prompts[p] + row for p, row in zip(prompt_of_N.tolist(), rows, strict=True)]
            ids_NT, row_mask_NT = pad(rows, model.device)
            hidden_NTD = plain(model, ids_NT, row_mask_NT)
            ids_NT, row_mask_NT = ids_NT[:, 1:], row_mask_NT[:, 1:]
            tokens = sum(map(len, rows))
        else:
            ids_NT, row_mask_NT = pad(rows, model.device)
            hidden_NTD = extend(model, encode_prefix(model, prompts), prompt_of_N.to(model.device), ids_NT, row_mask_NT)
            tokens = sum(map(len, rows)) + sum(map(len, prompts))
        self._count(tokens)
        mask_NT = _last(row_mask_NT, scored)
        head = model.get_output_embeddings()
        logp_M, entropy_M = token_logprobs(
            hidden_NTD[mask_NT], head.weight, ids_NT[mask_NT], bias_V=head.bias,
            temperature=temperature, support_MK=None if support is None else support[support[..., 0] >= 0],
        )  # fmt: skip
        # every row's scored tokens, moved to the front: column t is the t-th of them
        front_NT = torch.arange(max(scored), device=model.device) < mask_NT.sum(1, keepdim=True)
        zeros_NT = torch.zeros(front_NT.shape, device=model.device)
        return Scores(
            logp=zeros_NT.masked_scatter(front_NT, logp_M.float()),
            entropy=zeros_NT.masked_scatter(front_NT, entropy_M.float()),
            mask=front_NT,
        )

    def parameters(self) -> list[torch.nn.Parameter]:
        """This policy's trainable weights."""
        return list(self.weights.named(self.name).values())

    def _count(self, tokens: int) -> None:
        self.tokens += tokens
        if torch.is_grad_enabled():
            self.gradient_tokens += tokens


def _last(row_mask_NT: Tensor, count: Sequence[int]) -> Tensor:
    """True on the last ``count[n]`` tokens of each row. [N, T]"""
    lengths_N1 = row_mask_NT.sum(1, keepdim=True)
    positions_T = torch.arange(row_mask_NT.shape[1], device=row_mask_NT.device)
    return row_mask_NT & (positions_T >= lengths_N1 - torch.tensor(count, device=row_mask_NT.device)[:, None])
