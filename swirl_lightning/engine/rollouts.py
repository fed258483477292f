"""Samples as a batch of groups.

Shape letters: P prompts, G samples per prompt, N distinct rows, T completion tokens, K support size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from swirl_lightning.engine.sampling import Samples
from swirl_lightning.types import Answer, Ids


@dataclass(frozen=True, slots=True)
class Rollouts:
    """A batch of groups. Identical completions of one prompt are kept once.

    Shape letters: P prompts, G samples per prompt, N distinct rows, T completion tokens, K support size.

    Args:
        prompts: P prompts as ids.
        completions: N distinct completions as ids, without the end token.
        prompt_of: prompt of each row. [N]
        row_of: row of each sample. [P, G]
        ids: sampled ids, end token included, up to the last that was chosen, padded on the right. [N, T]
        mask: True on sampled tokens; those that an answer forces are not. [N, T]
        finished: True where the end token was sampled before the length limit, or the length is known. [N]
        logp: log-probability of each sampled token under the distribution it was drawn from. [N, T]
        support: token ids that distribution could draw (top-p, top-k), padded with -1; None means all. [N, T, K]
    """

    prompts: tuple[Ids, ...]
    completions: tuple[Ids, ...]
    prompt_of: Tensor
    row_of: Tensor
    ids: Tensor
    mask: Tensor
    finished: Tensor
    logp: Tensor
    support: Tensor | None = None

    @property
    def counts(self) -> Tensor:
        """How many samples each row stands for. [N]"""
        return torch.bincount(self.row_of.flatten(), minlength=len(self.completions))

    def sampled(self) -> tuple[list[Ids], list[int]]:
        """The ids of each row up to the last one that was sampled, end token included, and their number."""
        places_T = torch.arange(1, self.mask.shape[1] + 1, device=self.mask.device)
        lengths = (self.mask * places_T).amax(1).tolist()
        return [tuple(ids[:length]) for ids, length in zip(self.ids.tolist(), lengths, strict=True)], lengths


def collect(
    prompts: Sequence[Ids], group_size: int, answer: Answer, pieces: Sequence[tuple[Sequence[int], Samples]]
) -> Rollouts:
    """Put samples into their groups and keep each prompt's identical completions once.

    Args:
        prompts: P prompts.
        group_size: G; sample ``p * G + g`` is the g-th of prompt p.
        answer: what could be drawn.
        pieces: which samples, and what was drawn.
    """
    drawn: dict[int, Ids] = {}
    source: dict[int, tuple[Samples, int]] = {}
    for samples, result in pieces:
        for i, (s, tokens) in enumerate(zip(samples, result.tokens.tolist(), strict=True)):
            drawn[s] = answer.written(tokens)
            source[s] = (result, i)
    rows: dict[tuple[int, Ids], int] = {}
    first: list[int] = []
    row_of_PG = torch.empty(len(prompts), group_size, dtype=torch.long)
    for s in range(len(drawn)):
        p, g = divmod(s, group_size)
        key = (p, drawn[s])
        if key not in rows:
            rows[key] = len(rows)
            first.append(s)
        row_of_PG[p, g] = rows[key]
    device = pieces[0][1].tokens.device
    lengths_N = torch.tensor([answer.last_choice(len(tokens)) for _, tokens in rows], device=device)
    longest = int(lengths_N.max())
    mask_NT = torch.arange(longest, device=device) < lengths_N[:, None]
    mask_NT[:, [place for place in answer.forced if place < longest]] = False
    chosen = [source[s] for s in first]
    return Rollouts(
        prompts=tuple(prompts),
        completions=tuple(answer.completion(tokens) for _, tokens in rows),
        prompt_of=torch.tensor([p for p, _ in rows], device=device),
        row_of=row_of_PG.to(device),
        ids=torch.stack([result.tokens[i, :longest] for result, i in chosen]),
        mask=mask_NT,
        finished=torch.tensor([answer.is_whole(tokens) for _, tokens in rows], device=device),
        logp=torch.stack([result.logp[i, :longest] for result, i in chosen]).masked_fill(~mask_NT, 0.0),
        support=_supports(chosen, longest),
    )


def _supports(chosen: Sequence[tuple[Samples, int]], longest: int) -> Tensor | None:
    """The supports of the chosen samples' steps. [N, T, K], None where every id could be drawn"""
    if not chosen[0][0].supports:
        return None
    size = max(step.shape[1] for result, _ in chosen for step in result.supports[:longest])
    return torch.stack(
        [
            pad(
                torch.stack([pad(step[i], (0, size - step.shape[1]), value=-1) for step in result.supports[:longest]]),
                (0, 0, 0, longest - len(result.supports[:longest])),
                value=-1,
            )
            for result, i in chosen
        ]
    )
