"""Sample a group of completions for each prompt, computing every distinct prefix once.

Samples of a group that agree so far are one row of the model: their next tokens are drawn independently from its one
distribution, and the cache branches where they part. The joint distribution is that of independent draws.

Shape letters: P prompts, G samples per prompt, T tokens, R rows (distinct unfinished prefixes), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from swirl_lightning.models.shared_prefix import encode_prefix
from swirl_lightning.types import Ids, Rollouts


@dataclass(frozen=True, slots=True)
class Sampling:
    """The distribution completions are drawn from; ratio and KL are taken under this very distribution.

    Args:
        temperature: logits are divided by it; 0 decodes greedily.
        top_p: smallest set of tokens with at least this probability; 1 keeps all.
        top_k: number of most probable tokens kept; 0 keeps all.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    @property
    def truncated(self) -> bool:
        """Whether some tokens cannot be drawn."""
        return self.temperature > 0 and (self.top_p < 1 or self.top_k > 0)


GREEDY = Sampling(temperature=0.0)


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


def draw(logp_SV: Tensor, uniform_S: Tensor) -> Tensor:
    """The token whose interval of the cumulative distribution holds ``uniform_S``. [S]

    A function of the numbers alone: the same draws give the same tokens in any batch and on any device.
    """
    cdf_SV = logp_SV.exp().cumsum(-1)
    target_S1 = uniform_S[:, None] * cdf_SV[:, -1:]
    index_S = torch.searchsorted(cdf_SV, target_S1, right=True)[:, 0]
    # rounding may push the target onto the end of the last possible token's interval
    last_S = logp_SV.shape[1] - 1 - logp_SV.flip(-1).isfinite().int().argmax(-1)
    return torch.minimum(index_S, last_S)


def uniforms(seeds: Sequence[int], group_size: int, max_tokens: int) -> Tensor:
    """One uniform number per prompt, sample and token, from each prompt's own seed. [P, G, T]"""
    generator = torch.Generator()
    return torch.stack([torch.rand(group_size, max_tokens, generator=generator.manual_seed(s)) for s in seeds])


@torch.no_grad()
def sample(
    model: Any, prompts: Sequence[Ids], seeds: Sequence[int], *, group_size: int, max_tokens: int, eos: int,
    sampling: Sampling,
) -> Rollouts:  # fmt: skip
    """Draw ``group_size`` completions of each prompt.

    Args:
        model: a Hugging Face causal LM.
        prompts: P prompts as ids.
        seeds: P seeds; a prompt's completions depend on its own seed only.
        group_size: G.
        max_tokens: completions are stopped after so many tokens, end token included.
        eos: the id that ends a completion.
        sampling: the distribution to draw from.
    """
    device = model.device
    num_prompts, vocabulary = len(prompts), model.get_output_embeddings().weight.shape[0]
    uniform_PGT = uniforms(seeds, group_size, max_tokens).to(device)
    prefix = encode_prefix(model, prompts)
    row_mask_RL, position_R = prefix.mask, prefix.mask.sum(1)
    cache = prefix.cache(torch.arange(num_prompts, device=device))
    hidden_RD = prefix.last

    row_of_PG = torch.arange(num_prompts, device=device)[:, None].expand(-1, group_size).clone()
    alive_PG = torch.ones_like(row_of_PG, dtype=torch.bool)
    tokens_PGT = torch.full((num_prompts, group_size, max_tokens), eos, device=device)
    logp_PGT = torch.zeros(num_prompts, group_size, max_tokens, device=device)
    supports: list[Tensor] = []
    for t in range(max_tokens):
        logp_RV = next_token_logprobs(model.get_output_embeddings()(hidden_RD), sampling)
        rows_S = row_of_PG[alive_PG]
        if sampling.temperature == 0:
            token_S = logp_RV.argmax(-1)[rows_S]
        else:
            token_S = draw(logp_RV[rows_S], uniform_PGT[..., t][alive_PG])
        tokens_PGT[..., t][alive_PG] = token_S
        logp_PGT[..., t][alive_PG] = logp_RV[rows_S, token_S]
        if sampling.truncated:
            supports.append(_support(logp_RV, row_of_PG, alive_PG))
        alive_PG[alive_PG.clone()] = token_S != eos
        if t + 1 == max_tokens or not alive_PG.any():
            break
        branch_S = (rows_S * vocabulary + token_S)[token_S != eos]
        branch_R, row_S = branch_S.unique(return_inverse=True)
        row_of_PG[alive_PG] = row_S
        parent_R = branch_R // vocabulary
        cache.batch_select_indices(parent_R)
        row_mask_RL = torch.cat([row_mask_RL[parent_R], row_mask_RL.new_ones(len(parent_R), 1)], dim=1)
        hidden_RD = model.base_model(
            input_ids=(branch_R % vocabulary)[:, None],
            attention_mask=row_mask_RL.long(),
            position_ids=position_R[parent_R][:, None],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
        position_R = position_R[parent_R] + 1
    return _collect(prompts, tokens_PGT, logp_PGT, supports, alive_PG, eos)


def _support(logp_RV: Tensor, row_of_PG: Tensor, alive_PG: Tensor) -> Tensor:
    """Ids that could be drawn at this step, -1 elsewhere. [P, G, K]"""
    size = int(logp_RV.isfinite().sum(-1).max())
    top = logp_RV.topk(size, dim=-1)
    ids_RK = top.indices.masked_fill(top.values == -torch.inf, -1)
    ids_PGK = ids_RK.new_full((*row_of_PG.shape, size), -1)
    ids_PGK[alive_PG] = ids_RK[row_of_PG[alive_PG]]
    return ids_PGK


def _collect(
    prompts: Sequence[Ids], tokens_PGT: Tensor, logp_PGT: Tensor, supports: list[Tensor], alive_PG: Tensor, eos: int
) -> Rollouts:
    """Keep each prompt's identical completions once."""
    rows: dict[tuple[int, Ids], int] = {}
    first: list[tuple[int, int]] = []
    lengths: list[int] = []
    row_of_PG = torch.empty(alive_PG.shape, dtype=torch.long)
    for p, group in enumerate(tokens_PGT.tolist()):
        for g, tokens in enumerate(group):
            length = tokens.index(eos) + 1 if eos in tokens else len(tokens)
            key = (p, tuple(tokens[:length]))
            if key not in rows:
                rows[key] = len(rows)
                first.append((p, g))
                lengths.append(length)
            row_of_PG[p, g] = rows[key]
    device = tokens_PGT.device
    p_N, g_N = torch.tensor(first, device=device).T
    longest = max(lengths)
    mask_NT = torch.arange(longest, device=device) < torch.tensor(lengths, device=device)[:, None]
    support = None
    if supports:
        size = max(step.shape[-1] for step in supports[:longest])
        steps = [torch.nn.functional.pad(s[p_N, g_N], (0, size - s.shape[-1]), value=-1) for s in supports[:longest]]
        support = torch.stack(steps, dim=1)
    finished_N = torch.tensor([tokens[-1] == eos for _, tokens in rows], device=device)
    return Rollouts(
        prompts=tuple(prompts),
        completions=tuple(tokens[:-1] if tokens[-1] == eos else tokens for _, tokens in rows),
        prompt_of=p_N,
        row_of=row_of_PG.to(device),
        ids=tokens_PGT[p_N, g_N, :longest],
        mask=mask_NT,
        finished=finished_N,
        logp=logp_PGT[p_N, g_N, :longest].masked_fill(~mask_NT, 0.0),
        support=support,
    )
