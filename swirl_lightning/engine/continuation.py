"""What is asked of a few prompts: log-probs of rows that continue them, and fresh samples.

Shape letters: P prompts, N rows, T scored tokens of a row, M distinct predictions, S samples, K support size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from swirl_lightning.algorithms.logprobs import token_logprobs
from swirl_lightning.engine.forest import Forest, plant
from swirl_lightning.engine.head import head_rows, places_of
from swirl_lightning.engine.sampling import Samples, Sampling, grow
from swirl_lightning.engine.shared_prefix import Prefix, encode_prefix, extend, packed
from swirl_lightning.types import Answer, Ids


class Scores(NamedTuple):
    """Log-probabilities of the scored tokens of N rows, T at most.

    Args:
        logp: of each token given all before it; 0 where ``mask`` is False. [N, T]
        mask: True on scored tokens; those that an answer forces are not. [N, T]
        plain_logp: the same at temperature 1 over all ids that the answer allows; None where not asked for. [N, T]
        entropy: of that plain distribution, in nats, without gradient; None where it was not asked for. [N, T]
    """

    logp: Tensor
    mask: Tensor
    plain_logp: Tensor | None = None
    entropy: Tensor | None = None

    def of(self, rows: Tensor, width: int | None = None) -> Scores:
        """Those of some rows, of which no more than ``width`` tokens are scored."""
        logp, plain = self.logp[rows, :width], self.plain_logp
        if plain is not None:
            plain = logp if plain is self.logp else plain[rows, :width]
        entropy = None if self.entropy is None else self.entropy[rows, :width]
        return Scores(logp, self.mask[rows, :width], plain, entropy)


class Continuation(ABC):
    """A few prompts, and the texts that continue them, which may be given in several pieces.

    Args:
        model: a Hugging Face causal LM.
        prompts: P prompts as ids.
        answer: what may continue them.
        pieces: number of calls of :meth:`score` that will follow, each of them with its own backward pass.
    """

    def __init__(self, model: Any, prompts: Sequence[Ids], answer: Answer, pieces: int = 1) -> None:
        self.model = model
        self.prompts = prompts
        self.answer = answer
        self.pieces = pieces
        self.tokens = 0

    @abstractmethod
    def score(
        self, prompt_of_N: Sequence[int], rows: Sequence[Ids], scored: Sequence[int], *,
        temperature: float, support: Tensor | None, plain: bool, shown: Collection[int] = (),
    ) -> Scores:  # fmt: skip
        """Log-probs of the last ``scored[n]`` tokens of each row; see :meth:`Policy.accumulate`."""

    @abstractmethod
    def sample(self, prompt_of_S: Sequence[int], uniform_ST: Tensor, sampling: Sampling) -> Samples:
        """One completion for each row of uniform numbers, of at most T tokens."""

    def finish(self) -> None:  # noqa: B027 - nothing to do where texts are by themselves
        """After the last piece's backward pass: let the gradient flow on through the prompts."""


class SharedPrompts(Continuation):
    """Every prompt passes through the model once, and so does all that several of its rows begin with."""

    prefix: Prefix | None = None
    leaves: Prefix | None = None

    def score(
        self, prompt_of_N: Sequence[int], rows: Sequence[Ids], scored: Sequence[int], *,
        temperature: float, support: Tensor | None, plain: bool, shown: Collection[int] = (),
    ) -> Scores:  # fmt: skip
        """The form follows from the case: packed where nothing is shared or gradients are checkpointed, else cache."""
        checkpoints = _checkpointed_layers(self.model) if torch.is_grad_enabled() else []
        forest = plant(
            self.prompts, prompt_of_N, rows, scored, forced=self.answer.forced, apart=shown,
            one_lane=bool(checkpoints), device=self.model.device,
        )  # fmt: skip
        if checkpoints or (self.pieces == 1 and self.prefix is None and len(rows) <= len(self.prompts)):
            with _checkpointing(checkpoints):
                hidden_MD = packed(self.model, self.prompts, forest)
            self.tokens += sum(len(self.prompts[p]) for p in forest.prompt_of.tolist())
        else:
            hidden_MD = extend(self.model, self._encoded(), forest)
        self.tokens += int(forest.mask.sum())
        n_M, t_M = forest.scored
        weight_VD, bias_V = head_rows(self.model, self.answer)
        target_M = forest.targets - self.answer.first

        def logprobs(its: Tensor | slice, **options: Any) -> tuple[Tensor, Tensor | None]:
            return token_logprobs(hidden_MD[its], weight_VD, target_M[its], bias_V=bias_V, **options)

        everywhere, entropy_M, bent = slice(None), None, temperature != 1 or support is not None
        if plain or shown or not bent:
            plain_M, entropy_M = logprobs(everywhere, entropy=plain)
            logp_M = plain_M
        if bent:
            its: Tensor | slice = everywhere
            if shown:
                its = sampled_M = torch.tensor([n not in shown for n in n_M.tolist()], device=hidden_MD.device)
            ids_MK = None if support is None else places_of(support[n_M[its], t_M[its]], self.answer)
            bent_M, _ = logprobs(its, temperature=temperature, support_MK=ids_MK)
            logp_M = logp_M.masked_scatter(sampled_M, bent_M) if shown else bent_M
        logp = _by_row(logp_M, forest)
        return Scores(
            logp=logp,
            mask=forest.prediction_of >= 0,
            plain_logp=(_by_row(plain_M, forest) if bent else logp) if plain else None,
            entropy=None if entropy_M is None else _by_row(entropy_M, forest),
        )

    def sample(self, prompt_of_S: Sequence[int], uniform_ST: Tensor, sampling: Sampling) -> Samples:  # noqa: D102
        samples = grow(self.model, self._encoded(), prompt_of_S, uniform_ST, self.answer, sampling)
        self.tokens += samples.tokens_read
        return samples

    def finish(self) -> None:  # noqa: D102
        if self.prefix is None or self.leaves is None:
            return
        pairs = zip(self.prefix.tensors(), self.leaves.tensors(), strict=True)
        reached = [(tensor, leaf.grad) for tensor, leaf in pairs if leaf.grad is not None and tensor.requires_grad]
        torch.autograd.backward([tensor for tensor, _ in reached], [grad for _, grad in reached])

    def _encoded(self) -> Prefix:
        if self.prefix is None:
            self.prefix = encode_prefix(self.model, self.prompts)
            self.tokens += sum(map(len, self.prompts))
            if torch.is_grad_enabled() and self.pieces > 1:
                self.leaves = self.prefix.detached()
        return self.leaves or self.prefix


def _by_row(x_M: Tensor, forest: Forest) -> Tensor:
    """Each row's own values, 0 after the last. [N, T]"""
    return x_M.float()[forest.prediction_of.clamp(min=0)].masked_fill(forest.prediction_of < 0, 0.0)


def _checkpointed_layers(model: Any) -> list[Any]:
    return [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer) and m.gradient_checkpointing]


@contextmanager
def _checkpointing(layers: Sequence[Any]) -> Iterator[None]:
    """Layers checkpoint in training mode only; the model is in evaluation mode, so that nothing drops out."""
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:  # left in training mode, they would drop the cache without an error
        for layer in layers:
            layer.training = False
