"""Sample groups of completions, computing every distinct prefix once.

Samples of a group that agree so far are one row of the model: their next tokens are drawn independently from its one
distribution. The tokens of a group form one tree behind the prompt's keys and values, and a mask tells each row which
of them are its own past, so that nothing is copied where samples part. The joint distribution is that of independent
draws.

Shape letters: P prompts, S samples, T tokens, R rows (distinct unfinished prefixes), Q rows of one prompt, L prompt
tokens, C tokens in the trees or samples of one row, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from swirl_lightning.engine.decoding import Step, decoding_step
from swirl_lightning.engine.few_rows import linear
from swirl_lightning.engine.head import cut_head, ids_of
from swirl_lightning.engine.shared_prefix import Prefix
from swirl_lightning.types import Answer, check_number


@dataclass(frozen=True)
class Sampling:
    """The distribution completions are drawn from, under which the probability ratio is taken, too.

    Args:
        temperature: logits are divided by it; 0 decodes greedily.
        top_p: smallest set of tokens with at least this probability; 1 keeps all.
        top_k: number of most probable tokens kept; 0 keeps all.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def check(self, key: str) -> None:
        """Refuse numbers that are out of their range.

        Args:
            key: of the options, for the message: that of their role.
        """
        check_number(f"{key}.temperature", self.temperature, least=0)
        check_number(f"{key}.top_p", self.top_p, above=0, most=1)
        check_number(f"{key}.top_k", self.top_k, least=0)

    @property
    def truncated(self) -> bool:
        """Whether some tokens cannot be drawn."""
        return self.temperature > 0 and (self.top_p < 1 or self.top_k > 0)


GREEDY = Sampling(temperature=0.0)


class Samples(NamedTuple):
    """S completions of at most T tokens.

    Args:
        tokens: the end token after the last one. [S, T]
        logp: log-probability of each token under the distribution it was drawn from; 0 where it was forced. [S, T]
        supports: for each step the ids that could be drawn, padded with -1; empty where all could. T of [S, K]
        tokens_read: tokens that passed through the model after the prompts.
    """

    tokens: Tensor
    logp: Tensor
    supports: list[Tensor]
    tokens_read: int


def next_token_logprobs(logits_RV: Tensor, sampling: Sampling) -> Tensor:
    """Log-probabilities of the next token, -inf where it cannot be drawn. [R, V]"""
    logp_RV = torch.log_softmax(logits_RV.float() / (sampling.temperature or 1.0), dim=-1)
    if not sampling.truncated:
        return logp_RV
    sorted_RV, order_RV = logp_RV.sort(dim=-1, descending=True)
    probs_RV = sorted_RV.exp()
    drop_RV = probs_RV.cumsum(-1) - probs_RV >= sampling.top_p
    if sampling.top_k:
        drop_RV[:, sampling.top_k :] = True
    drop_RV[:, 0] = False
    dropped_RV = torch.zeros_like(drop_RV).scatter(-1, order_RV, drop_RV)
    return torch.log_softmax(logp_RV.masked_fill(dropped_RV, -torch.inf), dim=-1)


def draw(logp_RV: Tensor, uniform_S: Tensor, row_of_S: Tensor) -> Tensor:
    """The token whose interval of its row's cumulative distribution holds ``uniform_S``. [S]

    A function of the numbers alone: the same draws give the same tokens in any batch and on any device. A distribution
    is summed up once, however many samples are drawn from it.
    """
    cdf_RV = logp_RV.exp().cumsum(-1)
    end_S = cdf_RV[row_of_S, -1]
    # rounding must not push the target to the end, past the last possible token
    target_S = torch.minimum(uniform_S * end_S, torch.nextafter(end_S, torch.zeros_like(end_S)))
    samples_SR = torch.nn.functional.one_hot(row_of_S, len(logp_RV)).cumsum(0)
    place_S = samples_SR.gather(1, row_of_S[:, None])[:, 0] - 1  # among the samples of its row
    target_RC = target_S.new_zeros(len(logp_RV), int(samples_SR[-1].max()))
    target_RC[row_of_S, place_S] = target_S
    index_S = torch.searchsorted(cdf_RV, target_RC, right=True)[row_of_S, place_S]
    return index_S.clamp(max=logp_RV.shape[1] - 1)  # of a distribution that is not a number, any token


def choose(logp_RV: Tensor, uniform_S: Tensor, row_of_S: Tensor, sampling: Sampling) -> Tensor:
    """The next token of each sample, whose distribution is the row ``row_of_S``. [S]"""
    return logp_RV.argmax(-1)[row_of_S] if sampling.temperature == 0 else draw(logp_RV, uniform_S, row_of_S)


def support(logp_SV: Tensor) -> Tensor:
    """Ids that could be drawn, the most probable first, padded with -1. [S, K]"""
    top = logp_SV.topk(int(logp_SV.isfinite().sum(-1).max()), dim=-1)
    return top.indices.int().masked_fill(top.values == -torch.inf, -1)  # four bytes: a batch's can fill the memory


def uniforms(seeds: Sequence[int], group_size: int, max_tokens: int) -> Tensor:
    """One uniform number per prompt, sample and token, from each prompt's own seed. [P, G, T]"""
    generator = torch.Generator()
    return torch.stack([torch.rand(group_size, max_tokens, generator=generator.manual_seed(s)) for s in seeds])


@torch.no_grad()
def grow(
    model: Any, prefix: Prefix, prompt_of_S: Sequence[int], uniform_ST: Tensor, answer: Answer, sampling: Sampling,
    step: Step | None = None,
) -> Samples:  # fmt: skip
    """Draw one completion for each row of uniform numbers.

    Args:
        model: a Hugging Face causal LM.
        prefix: the prompts, encoded by it.
        prompt_of_S: prompt of each sample.
        uniform_ST: a number in [0, 1) for each token to be drawn.
        answer: what may be drawn.
        sampling: the distribution to draw from.
        step: reads the drawn tokens; the quicker one by default.
    """
    device, head = model.device, cut_head(model, answer)
    num_samples, max_tokens = uniform_ST.shape
    end, vocabulary = -1 if answer.end is None else answer.end, model.get_output_embeddings().weight.shape[0]
    uniform_ST = uniform_ST.to(device)
    tokens_ST = torch.full((num_samples, max_tokens), end, device=device)
    logp_ST = torch.zeros(num_samples, max_tokens, device=device)
    supports: list[Tensor] = []
    alive_S = torch.ones(num_samples, dtype=torch.bool, device=device)
    row_of_S = torch.tensor(prompt_of_S, device=device)
    hidden_RD, prompt_R = prefix.last, torch.arange(len(prefix.last), device=device)
    tree = _Tree(prefix, step or decoding_step(model, prefix, max_tokens))
    last = answer.last_choice(max_tokens)
    for t in range(last, max_tokens):
        tokens_ST[:, t] = answer.forced[t]
    for t in range(last):
        rows_A = row_of_S[alive_S]  # of the samples that are still growing
        if sampling.truncated:
            supports.append(torch.full((num_samples, 0), -1, dtype=torch.int, device=device))
        if t in answer.forced:
            token_A = torch.full_like(rows_A, answer.forced[t])
        else:
            logp_RV = next_token_logprobs(linear(head, hidden_RD), sampling)
            place_A = choose(logp_RV, uniform_ST[alive_S, t], rows_A, sampling)
            token_A = ids_of(place_A, answer)
            logp_ST[alive_S, t] = logp_RV[rows_A, place_A]
            if sampling.truncated:
                ids_RK = ids_of(support(logp_RV), answer)
                supports[-1] = ids_RK.new_full((num_samples, ids_RK.shape[1]), -1)
                supports[-1][alive_S] = ids_RK[rows_A]
        tokens_ST[alive_S, t] = token_A
        alive_S[alive_S.clone()] = token_A != end
        if t + 1 == last or not alive_S.any():
            break
        branch_A = (rows_A * vocabulary + token_A)[token_A != end]
        branch_R, row_of_S[alive_S] = branch_A.unique(return_inverse=True)
        parent_R = branch_R // vocabulary
        prompt_R = prompt_R[parent_R]
        hidden_RD = tree.step(branch_R % vocabulary, parent_R, prompt_R)
    return Samples(tokens_ST, logp_ST, supports, tree.tokens_read)


class _Tree:
    """The tokens of each prompt's samples behind that prompt, and what each row sees of them."""

    def __init__(self, prefix: Prefix, step: Step) -> None:
        self.read = step
        self.prompts = torch.arange(len(prefix.mask), device=prefix.mask.device)  # those still read
        self.mask_PL = prefix.mask
        self.position_P = prefix.mask.sum(1)
        self.sees_RC = torch.zeros(len(prefix.mask), 0, dtype=torch.bool, device=prefix.mask.device)
        self.tokens_read = 0

    def step(self, ids_R: Tensor, parent_R: Tensor, prompt_R: Tensor) -> Tensor:
        """Read one token for each row, which continues row ``parent_R`` of the step before. [R, D]"""
        prompts, place_R, counts = prompt_R.unique_consecutive(return_inverse=True, return_counts=True)
        if len(prompts) < len(self.prompts):
            kept = torch.searchsorted(self.prompts, prompts)
            self.read.keep(kept)
            self.prompts, self.mask_PL, self.position_P = prompts, self.mask_PL[kept], self.position_P[kept]
        width, rows = int(counts.max()), len(ids_R)
        slot_R = torch.arange(rows, device=ids_R.device) - (counts.cumsum(0) - counts)[place_R]
        own_RQ = torch.nn.functional.one_hot(slot_R, width).bool()
        self.sees_RC = torch.cat([self.sees_RC[parent_R], own_RQ], dim=1)
        ids_PQ = ids_R.new_zeros(len(prompts), width)
        ids_PQ[place_R, slot_R] = ids_R
        sees_PQC = self.sees_RC.new_zeros(len(prompts), width, self.sees_RC.shape[1])
        sees_PQC[place_R, slot_R] = self.sees_RC
        allowed = torch.cat([self.mask_PL[:, None].expand(-1, width, -1), sees_PQC], dim=2)
        hidden_PQD = self.read(ids_PQ, allowed, self.position_P)
        self.position_P = self.position_P + 1
        self.tokens_read += rows
        return hidden_PQD[place_R, slot_R]
