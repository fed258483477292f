"""Keys and values of decoding steps, which are not copied at every step. For passes without gradient."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer


class BufferLayer(DynamicLayer):
    """One layer's cache that grows token by token; its memory grows by half when it is full."""

    keys: Tensor
    values: Tensor
    _buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append along the token dimension and return all. [B, heads, tokens, head size]"""
        begin, end = self.keys.shape[2], self.keys.shape[2] + key_states.shape[2]
        if self._buffers is None or end > self._buffers[0].shape[2]:
            room = max(end, begin + begin // 2)
            self._buffers = _with_room(self.keys, begin, room), _with_room(self.values, begin, room)
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, begin:end] = states
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Only keep these rows of the batch."""
        super().batch_select_indices(indices)
        self._buffers = None


class FixedLayer(DynamicLayer):
    """One layer's cache of fixed size and address; what is not filled yet is zero.

    Args:
        keys: to begin with. [B, heads, tokens, head size]
        values: to begin with, of the same shape.
        used: how many of their tokens are taken over.
        room: tokens that there is room for.
        places_Q: where the next tokens go; read at every update. [Q]
    """

    def __init__(self, keys: Tensor, values: Tensor, used: int, room: int, places_Q: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = _with_room(keys, used, room), _with_room(values, used, room)
        self.places_Q = places_Q

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write to the places and return all. [B, heads, room, head size]"""
        for buffer, states in ((self.keys, key_states), (self.values, value_states)):
            buffer.index_copy_(2, self.places_Q, states)
        return self.keys, self.values


def _with_room(x: Tensor, used: int, room: int) -> Tensor:
    buffer = x.new_zeros(*x.shape[:2], room, x.shape[3])
    buffer[:, :, :used] = x[:, :, :used]
    return buffer
