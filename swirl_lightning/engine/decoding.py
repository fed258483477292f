"""One decoding step: some tokens of each prompt in, their hidden states out, their keys and values kept.

:class:`GrowingStep` is the ordinary one. :class:`FixedStep` keeps everything at one address and in one shape, so that a
GPU can record a step as a CUDA graph and replay it: with few rows, launching a step's many small kernels one by one
takes longer than they run.

Shape letters: P prompts, Q rows of one prompt, W places of the cache, D hidden size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakSet

import torch
from torch import Tensor
from transformers import DynamicCache

from swirl_lightning.engine.key_value_buffer import BufferLayer, FixedLayer
from swirl_lightning.engine.shared_prefix import Prefix, attention_mask, cache_of

log = logging.getLogger(__name__)

WORTH_RECORDING = 16
"""Tokens from which on a step is recorded, which takes about as long as three steps."""

unrecordable: WeakSet[Any] = WeakSet()
"""Models whose steps could not be recorded."""

Recorder = Callable[[Callable[[], Tensor]], Callable[[], Tensor]]


class Step(Protocol):
    """A decoding step on the keys and values of some prompts."""

    def __call__(self, ids_PQ: Tensor, allowed_PQW: Tensor, position_P: Tensor) -> Tensor:
        """Read Q tokens of each prompt, which take the last Q places. Returns their hidden states. [P, Q, D]"""
        ...

    def keep(self, kept_P: Tensor) -> None:
        """Only these of the prompts, by their place, will be asked for again."""
        ...


def decoding_step(model: Any, prefix: Prefix, tokens: int) -> Step:
    """The quicker step for completions of so many tokens."""
    worth = model.device.type == "cuda" and tokens >= WORTH_RECORDING and model not in unrecordable
    return FixedStep(model, prefix, lambda step: cuda_graph(model, step)) if worth else GrowingStep(model, prefix)


class GrowingStep:
    """A step on a cache that grows; prompts that are not kept leave it."""

    def __init__(self, model: Any, prefix: Prefix) -> None:
        self.model = model
        self.cache = cache_of(prefix.keys_values, BufferLayer)

    def __call__(self, ids_PQ: Tensor, allowed_PQW: Tensor, position_P: Tensor) -> Tensor:  # noqa: D102
        return _read(self.model, self.cache, ids_PQ, allowed_PQW, position_P)

    def keep(self, kept_P: Tensor) -> None:  # noqa: D102
        self.cache.batch_select_indices(kept_P)


class FixedStep:
    """A step on tensors that stay where they are until they are full.

    Rows beyond those that are asked for are read too: they see their prompt, nothing sees them, and the next step
    overwrites their keys and values.

    Args:
        model: a Hugging Face causal LM.
        prefix: the prompts, encoded by it.
        record: makes of a step, a function without arguments that returns the hidden states, one that does it again.
    """

    def __init__(self, model: Any, prefix: Prefix, record: Recorder) -> None:
        self.model = model
        self.record = record
        self.cache = cache_of(prefix.keys_values)
        self.mask = prefix.mask
        self.prompts = torch.arange(len(prefix.mask), device=prefix.mask.device)
        self.ids = self.prompts.new_zeros(len(prefix.mask), 0)
        self.replay: Callable[[], Tensor] | None = None

    def __call__(self, ids_PQ: Tensor, allowed_PQW: Tensor, position_P: Tensor) -> Tensor:  # noqa: D102
        width, end = ids_PQ.shape[1], allowed_PQW.shape[2]
        begin = end - width
        if width > self.ids.shape[1] or begin + self.ids.shape[1] > self.allowed.shape[2]:
            self._make_room(begin, width)
        self.ids[self.prompts, :width] = ids_PQ
        self.allowed[self.prompts, :width, :end] = allowed_PQW
        self.position[self.prompts] = position_P
        self.places.copy_(torch.arange(begin, begin + len(self.places), device=self.places.device))
        if self.replay is None:
            self.replay = self.record(self._forward)
        return self.replay()[self.prompts, :width]

    def keep(self, kept_P: Tensor) -> None:  # noqa: D102
        self.prompts = self.prompts[kept_P]

    def _forward(self) -> Tensor:
        return _read(self.model, self.cache, self.ids, self.allowed, self.position)

    def _make_room(self, used: int, width: int) -> None:
        """Larger tensors, with the ``used`` first places as they are; what was recorded on the others is dropped."""
        self.replay = None
        width = max(self.ids.shape[1], 1 << (width - 1).bit_length())
        places = max(used + 16 * width, used + used // 2)
        prompts, length = self.mask.shape
        self.ids = self.ids.new_zeros(prompts, width)
        self.position = self.ids.new_zeros(prompts)
        self.places = self.ids.new_zeros(width)
        self.allowed = self.mask.new_zeros(prompts, width, places)
        self.allowed[:, :, :length] = self.mask[:, None]  # what sees nothing is not a number
        for i, layer in enumerate(self.cache.layers):  # one after the other, so that only one is there twice
            self.cache.layers[i] = FixedLayer(layer.keys, layer.values, used, places, self.places)


def cuda_graph(model: Any, step: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The step recorded as a CUDA graph; the step itself, and one log line, where the model's cannot be recorded."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        expected = step()  # makes the handles and workspaces that may not be made while recording
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            hidden = step()
        graph.replay()
        difference, size = float((hidden - expected).abs().max()), float(expected.abs().max())
        if not difference <= 1e-2 * size:
            raise RuntimeError(f"replayed, its hidden states of up to {size:.3g} differ by {difference:.3g}")
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a model of another kind can fail anywhere
        unrecordable.add(model)
        log.warning("decoding steps are not recorded as CUDA graphs: %s: %s", type(error).__name__, str(error)[:200])
        return step

    def replay() -> Tensor:
        graph.replay()
        return hidden

    return replay


def _read(model: Any, cache: DynamicCache, ids_PQ: Tensor, allowed_PQW: Tensor, position_P: Tensor) -> Tensor:
    output = model.base_model(
        input_ids=ids_PQ,
        attention_mask=attention_mask(model, allowed_PQW),
        position_ids=position_P[:, None].expand_as(ids_PQ),
        past_key_values=cache,
        use_cache=True,
    )
    return output.last_hidden_state
