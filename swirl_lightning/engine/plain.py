"""Each text by itself through the model's own forward: slower, and right for every causal LM of transformers.

Shape letters: N rows, T scored tokens of a row, S samples, K support size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from swirl_lightning.engine.continuation import Continuation, Scores
from swirl_lightning.engine.head import ids_of, places_of
from swirl_lightning.engine.sampling import Samples, Sampling, choose, next_token_logprobs, support
from swirl_lightning.types import Answer, Ids


class PlainTexts(Continuation):
    """Nothing is shared or padded, and the logits are those that the model itself returns."""

    def score(
        self, prompt_of_N: Sequence[int], rows: Sequence[Ids], scored: Sequence[int], *,
        temperature: float, support: Tensor | None, plain: bool, shown: Collection[int] = (),
    ) -> Scores:  # fmt: skip
        """One text after the other."""
        answer = self.answer
        logps, plains, entropies, masks = [], [], [], []
        for n, (p, row) in enumerate(zip(prompt_of_N, rows, strict=True)):
            ids_W = torch.tensor((*self.prompts[p], *row), device=self.model.device)
            self.tokens += len(ids_W)
            chosen_T = torch.tensor([t not in answer.forced for t in range(scored[n])], device=self.model.device)
            logits_TV = self.model(input_ids=ids_W[None], use_cache=False).logits[0, -scored[n] - 1 : -1, answer.rows]
            logits_TV = logits_TV.to(torch.promote_types(logits_TV.dtype, torch.float32))
            target_T1 = (ids_W[-scored[n] :, None] - answer.first).where(chosen_T[:, None], 0)
            if plain:
                plain_TV = logits_TV.log_softmax(dim=-1)
                plains.append(plain_TV.gather(1, target_T1)[:, 0].float())
                entropies.append(torch.special.entr(plain_TV.detach().exp()).sum(dim=-1).float())
            logits_TV = logits_TV if n in shown else logits_TV / temperature
            if support is not None and n not in shown:
                its_TK = places_of(support[n, : scored[n]], answer)
                logits_TV = logits_TV.masked_fill(~_allowed(its_TK, logits_TV) & chosen_T[:, None], -torch.inf)
            logps.append(logits_TV.log_softmax(dim=-1).gather(1, target_T1)[:, 0].float())
            masks.append(chosen_T)
        mask_NT = pad_sequence(masks, batch_first=True)

        def padded(rows: list[Tensor]) -> Tensor:
            return pad_sequence(rows, batch_first=True).masked_fill(~mask_NT, 0.0)

        return Scores(
            logp=padded(logps),
            mask=mask_NT,
            plain_logp=padded(plains) if plain else None,
            entropy=padded(entropies) if plain else None,
        )

    @torch.no_grad()
    def sample(self, prompt_of_S: Sequence[int], uniform_ST: Tensor, sampling: Sampling) -> Samples:
        """One group after the other, with the model's own cache and none of its settings for generation.

        A checkpoint's generation_config may have penalties, lengths and suppressed tokens, which transformers also
        takes where a call has a configuration of its own.
        """
        theirs, self.model.generation_config = self.model.generation_config, GenerationConfig()
        try:
            return self._sample(prompt_of_S, uniform_ST, sampling)
        finally:
            self.model.generation_config = theirs

    def _sample(self, prompt_of_S: Sequence[int], uniform_ST: Tensor, sampling: Sampling) -> Samples:
        prompt_of, end = torch.tensor(prompt_of_S), self.answer.end
        tokens_ST = torch.full(uniform_ST.shape, end or 0, device=self.model.device)
        logp_ST = torch.zeros(uniform_ST.shape, device=self.model.device)
        supports: list[Tensor] = []
        for p in prompt_of.unique().tolist():
            group = (prompt_of == p).nonzero()[:, 0].to(self.model.device)
            draws = _Draw(uniform_ST.to(self.model.device)[group], self.answer, sampling)
            ids_1L = torch.tensor([self.prompts[p]], device=self.model.device)
            self.model.generate(
                input_ids=ids_1L.expand(len(group), -1),
                attention_mask=torch.ones_like(ids_1L).expand(len(group), -1),
                generation_config=GenerationConfig(
                    max_new_tokens=uniform_ST.shape[1], pad_token_id=end or 0, eos_token_id=end
                ),
                logits_processor=LogitsProcessorList([draws]),
            )
            steps = len(draws.tokens)
            tokens_ST[group, :steps] = torch.stack(draws.tokens, dim=1)
            logp_ST[group, :steps] = torch.stack(draws.logps, dim=1)
            for t, ids_GK in enumerate(draws.supports):
                _put(supports, t, group, ids_GK, len(prompt_of))
            self.tokens += len(group) * (ids_1L.shape[1] + steps)
        return Samples(tokens_ST, logp_ST, supports, tokens_read=0)


class _Draw(LogitsProcessor):
    """Chooses every token itself, from the given uniform numbers, and leaves generation nothing else to take."""

    def __init__(self, uniform_GT: Tensor, answer: Answer, sampling: Sampling) -> None:
        self.uniform_GT = uniform_GT
        self.answer = answer
        self.end = -1 if answer.end is None else answer.end
        self.sampling = sampling
        self.ended_G = torch.zeros(len(uniform_GT), dtype=torch.bool, device=uniform_GT.device)
        self.tokens: list[Tensor] = []
        self.logps: list[Tensor] = []
        self.supports: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        t = len(self.tokens)
        if t in self.answer.forced:
            token_G = torch.full_like(input_ids[:, 0], self.answer.forced[t])
            logp_G = torch.zeros(len(scores), device=scores.device)
            ids_GK = torch.empty(len(scores), 0, dtype=torch.int, device=scores.device)
        else:
            logp_GV = next_token_logprobs(scores[:, self.answer.rows], self.sampling)
            place_G = choose(
                logp_GV, self.uniform_GT[:, t], torch.arange(len(scores), device=scores.device), self.sampling
            )
            token_G, logp_G = ids_of(place_G, self.answer), logp_GV.gather(1, place_G[:, None])[:, 0]
            ids_GK = ids_of(support(logp_GV), self.answer) if self.sampling.truncated else logp_GV
        if self.sampling.truncated:
            self.supports.append(ids_GK.masked_fill(self.ended_G[:, None], -1))
        self.tokens.append(token_G.masked_fill(self.ended_G, self.end))
        self.logps.append(logp_G.masked_fill(self.ended_G, 0.0))
        self.ended_G = self.ended_G | (token_G == self.end)
        return torch.full_like(scores, -torch.inf).scatter(1, token_G[:, None], 0.0)


def _allowed(support_TK: Tensor, logits_TV: Tensor) -> Tensor:
    """True on the ids of the support. [T, V]"""
    allowed_TV = torch.zeros_like(logits_TV, dtype=torch.bool)
    t, k = (support_TK >= 0).nonzero(as_tuple=True)
    allowed_TV[t, support_TK[t, k]] = True
    return allowed_TV


def _put(supports: list[Tensor], step: int, group: Tensor, ids_GK: Tensor, samples: int) -> None:
    """Enter a group's support into that of all samples, which is padded to the largest one."""
    if step == len(supports):
        supports.append(ids_GK.new_full((samples, 0), -1))
    missing = max(ids_GK.shape[1] - supports[step].shape[1], 0)
    supports[step] = torch.nn.functional.pad(supports[step], (0, missing), value=-1)
    supports[step][group, : ids_GK.shape[1]] = ids_GK
