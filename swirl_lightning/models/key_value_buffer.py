"""Keys and values that grow token by token without being copied at every step."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer


class BufferLayer(DynamicLayer):
    """One layer's cache; its memory grows by half when it is full. For passes without gradient."""

    keys: Tensor
    values: Tensor
    _buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append along the token dimension and return all. [B, heads, tokens, head size]"""
        begin, end = self.keys.shape[2], self.keys.shape[2] + key_states.shape[2]
        if self._buffers is None or end > self._buffers[0].shape[2]:
            room = max(end, begin + begin // 2)
            self._buffers = _with_room(self.keys, room), _with_room(self.values, room)
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, begin:end] = states
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Only keep these rows of the batch."""
        super().batch_select_indices(indices)
        self._buffers = None


def _with_room(x: Tensor, tokens: int) -> Tensor:
    buffer = x.new_empty(*x.shape[:2], tokens, x.shape[3])
    buffer[:, :, : x.shape[2]] = x
    return buffer
