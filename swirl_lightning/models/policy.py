"""A policy: one named weight set, with what GRPO asks of it: completions, log-probs, and gradients through them.

Shape letters: P prompts, G samples per prompt, S = P * G samples, N rows, T tokens, K support size.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from swirl_lightning.engine.continuation import Continuation, Scores, SharedPrompts
from swirl_lightning.engine.micro_batches import ALL_AT_ONCE, MicroBatch, MicroBatchSizes, micro_batches, with_halving
from swirl_lightning.engine.rollouts import Rollouts, collect
from swirl_lightning.engine.sampling import GREEDY, Samples, Sampling, uniforms
from swirl_lightning.models.weights import Weights
from swirl_lightning.types import Answer, Ids

R = TypeVar("R")


class Policy:
    """The weight set ``name`` of ``weights``.

    Args:
        weights: all the sets of the run.
        name: this policy's set.
        answer: what its role may write.
        engine: how texts pass through the model.
        sizes: rows that pass together.
    """

    def __init__(
        self,
        weights: Weights,
        name: str,
        answer: Answer,
        engine: type[Continuation] = SharedPrompts,
        sizes: MicroBatchSizes = ALL_AT_ONCE,
    ) -> None:
        self.weights = weights
        self.name = name
        self.answer = answer
        self.engine = engine
        self.sizes = sizes
        self.tokens = 0
        self.gradient_tokens = 0

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[Ids], seeds: Sequence[int], *, group_size: int, max_tokens: int, sampling: Sampling
    ) -> Rollouts:
        """Draw ``group_size`` completions of each prompt.

        Args:
            prompts: P prompts as ids.
            seeds: P seeds; a prompt's completions depend on its own seed only, in whatever batch it is.
            group_size: G.
            max_tokens: completions of unknown length are stopped after so many tokens, end token included.
            sampling: the distribution to draw from.
        """
        max_tokens = self.answer.steps(max_tokens)
        uniform_ST = uniforms(seeds, group_size, max_tokens).flatten(0, 1)
        prompt_of_S = [p for p in range(len(prompts)) for _ in range(group_size)]

        def work(piece: Sequence[int], opened: Continuation, of: Sequence[int]) -> tuple[Sequence[int], Samples]:
            return piece, opened.sample(of, uniform_ST[list(piece)], sampling)

        pieces = self._run(
            prompts, prompt_of_S, [0] * len(prompt_of_S), self.sizes.generation, work, calls=1 + max_tokens
        )
        return collect(prompts, group_size, self.answer, pieces)

    @torch.no_grad()
    def examine(self, prompts: Sequence[Ids], targets: Sequence[Ids], max_tokens: int) -> tuple[list[Ids], Scores]:
        """The greedy completion of each prompt, and the log-probs of one target of each; a prompt passes once.

        Args:
            prompts: P prompts as ids.
            targets: P targets, which are scored with their end token.
            max_tokens: completions of unknown length are stopped after so many tokens, end token included.
        """
        rows = list(map(self.answer.row, targets))
        scored = list(map(len, rows))
        max_tokens = self.answer.steps(max_tokens)
        unused_PT = torch.zeros(len(prompts), max_tokens)

        def work(
            piece: Sequence[int], opened: Continuation, of: Sequence[int]
        ) -> tuple[Sequence[int], Samples, Scores]:
            samples = opened.sample(of, unused_PT[list(piece)], GREEDY)
            return piece, samples, _score(opened, of, piece, rows, scored, None, 1.0, False)

        sizes = [size for size in (self.sizes.generation, self.sizes.scoring) if size is not None]
        parts = self._run(
            prompts, range(len(prompts)), scored, min(sizes, default=None), work, calls=2 + max_tokens
        )  # fmt: skip
        rollouts = collect(prompts, 1, self.answer, [(piece, samples) for piece, samples, _ in parts])
        scores = _joined([(piece, scores) for piece, _, scores in parts], len(rows), max(scored))
        return [rollouts.completions[row] for row in rollouts.row_of[:, 0].tolist()], scores

    def logprobs(
        self,
        prompts: Sequence[Ids],
        prompt_of_N: Tensor,
        rows: Sequence[Ids],
        scored: Sequence[int],
        *,
        temperature: float = 1.0,
        support: Tensor | None = None,
        plain: bool = False,
    ) -> Scores:
        """Log-probs of the last ``scored[n]`` tokens of each row, which continues prompt ``prompt_of_N[n]``.

        With gradients all rows stay in one graph, whatever the micro-batch size; :meth:`accumulate` keeps to it.

        Args:
            prompts: P prompts as ids.
            prompt_of_N: prompt of each row. [N]
            rows: N rows of ids that follow their prompt.
            scored: how many tokens at the end of each row are scored.
            temperature: of the distribution.
            support: ids the distribution is restricted to, at each scored token, padded with -1. [N, T, K]
            plain: whether log-probs and entropies at temperature 1, over all allowed ids, are wanted too.

        Returns:
            Scores whose column t is the t-th scored token of the row.
        """

        def work(piece: Sequence[int], opened: Continuation, of: Sequence[int]) -> tuple[Sequence[int], Scores]:
            return piece, _score(opened, of, piece, rows, scored, support, temperature, plain)

        size = None if torch.is_grad_enabled() else self.sizes.scoring
        return _joined(
            self._run(prompts, prompt_of_N.tolist(), list(map(len, rows)), size, work), len(rows), max(scored)
        )

    def accumulate(
        self,
        prompts: Sequence[Ids],
        prompt_of_N: Tensor,
        rows: Sequence[Ids],
        scored: Sequence[int],
        objective: Callable[[Tensor, Scores], tuple[Tensor, R]],
        answer: Answer | None = None,
        *,
        temperature: float = 1.0,
        support: Tensor | None = None,
        plain: bool = False,
        shown: Collection[int] = (),
    ) -> list[R]:
        """Add the gradient of a sum over rows to the policy's weights, one micro-batch after the other.

        Args:
            prompts: P prompts as ids.
            prompt_of_N: prompt of each row. [N]
            rows: N rows of ids that follow their prompt.
            scored: how many tokens at the end of each row are scored.
            objective: given indices of rows and their scores, those rows' share of the loss, and what is to be
                returned.
            answer: what the scored tokens are; None takes what the role writes.
            temperature: of the distribution.
            support: ids the distribution is restricted to. [N, T, K]
            plain: whether log-probs and entropies at temperature 1, over all allowed ids, are wanted too.
            shown: rows that were not sampled: their log-probs are those at temperature 1, over all allowed ids. They
                have no support, and come after all that have one.

        Returns:
            What ``objective`` gave beside the loss, for each micro-batch.
        """

        def work(piece: Sequence[int], opened: Continuation, of: Sequence[int]) -> R:
            scores = _score(opened, of, piece, rows, scored, support, temperature, plain, shown)
            loss, result = objective(torch.tensor(piece, device=scores.logp.device), scores)
            loss.backward()
            return result

        lengths = list(map(len, rows))
        return self._run(prompts, prompt_of_N.tolist(), lengths, self.sizes.update, work, answer, gradient=True)

    def parameters(self) -> list[torch.nn.Parameter]:
        """This policy's trainable weights."""
        return list(self.weights.named(self.name).values())

    def _run(
        self, prompts: Sequence[Ids], prompt_of_N: Sequence[int], lengths_N: Sequence[int], size: int | None,
        work: Callable[[Sequence[int], Continuation, Sequence[int]], R], answer: Answer | None = None,
        gradient: bool = False, calls: int = 1,
    ) -> list[R]:  # fmt: skip
        """Open each micro-batch's prompts and do the work on its pieces."""
        model = self.weights.activate(self.name)

        def run(batch: MicroBatch) -> list[R]:
            opened = self.engine(model, [prompts[p] for p in batch.prompts], answer or self.answer, len(batch.pieces))
            place = {p: i for i, p in enumerate(batch.prompts)}
            results = [work(piece, opened, [place[prompt_of_N[n]] for n in piece]) for piece in batch.pieces]
            if gradient:
                opened.finish()
            self.tokens += opened.tokens
            self.gradient_tokens += opened.tokens if torch.is_grad_enabled() else 0
            return results

        results: list[R] = []
        for batch in micro_batches(prompts, prompt_of_N, size, lengths_N, calls):
            grads = [None if p.grad is None else p.grad.clone() for p in self.parameters()] if gradient else []
            for part in with_halving(run, batch, prompt_of_N, lambda grads=grads: self._set_gradients(grads)):  # type: ignore[misc]
                results += part
        return results

    def _set_gradients(self, grads: Sequence[Tensor | None]) -> None:
        for parameter, grad in zip(self.parameters(), grads, strict=False):
            parameter.grad = grad


def _score(
    opened: Continuation, prompt_of_n: Sequence[int], piece: Sequence[int], rows: Sequence[Ids], scored: Sequence[int],
    support: Tensor | None, temperature: float, plain: bool, shown: Collection[int] = (),
) -> Scores:  # fmt: skip
    """Scores of the rows of one piece.

    Raises:
        ValueError: a scored token cannot be part of an answer.
    """
    for n in piece:
        opened.answer.check(rows[n][len(rows[n]) - scored[n] :])
    if support is not None:
        support = support[[0 if n in shown else n for n in piece]]  # nobody reads that of a row that was shown
    return opened.score(
        prompt_of_n, [rows[n] for n in piece], [scored[n] for n in piece], temperature=temperature, support=support,
        plain=plain, shown=frozenset(i for i, n in enumerate(piece) if n in shown),
    )  # fmt: skip


def _joined(parts: Sequence[tuple[Sequence[int], Scores]], num_rows: int, width: int) -> Scores:
    """The scores of all rows in their order."""
    place = torch.empty(num_rows, dtype=torch.long)
    place[torch.tensor([n for piece, _ in parts for n in piece])] = torch.arange(num_rows)

    def join(tensors: Sequence[Tensor]) -> Tensor:
        padded = [torch.nn.functional.pad(x, (0, width - x.shape[1])) for x in tensors]
        return torch.cat(padded)[place.to(padded[0].device)]

    def join_if_there(tensors: Sequence[Tensor | None]) -> Tensor | None:
        there = [x for x in tensors if x is not None]
        return join(there) if there else None

    scores = [s for _, s in parts]
    return Scores(
        logp=join([s.logp for s in scores]),
        mask=join([s.mask for s in scores]),
        plain_logp=join_if_there([s.plain_logp for s in scores]),
        entropy=join_if_there([s.entropy for s in scores]),
    )
