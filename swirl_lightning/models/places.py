"""Embeddings of a cell's place: ids that say a place and a code together share what they have in common.

Shape letters: R rows and C columns of cells, K codes, V ids, D hidden size.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class PlaceEmbedding(nn.Module):
    """An embedding whose rows for pictures are sums: the id's own vector, its row's, its column's and its code's.

    So a code that was seen in one cell is known in every other one, and a cell with one code with every other one.

    Args:
        embedding: the vectors of all ids. [V, D]
        first: the id of the first code in the first cell; the others follow, cell by cell.
        rows: R.
        columns: C.
        codes: K.
    """

    def __init__(self, embedding: nn.Embedding, first: int, rows: int, columns: int, codes: int) -> None:
        super().__init__()
        self.first = first
        self.own = embedding.weight
        width, std = self.own.shape[1], float(self.own.detach().std())
        self.row, self.column, self.code = (
            nn.Parameter(torch.randn(number, width) * std) for number in (rows, columns, codes)
        )

    @property
    def weight(self) -> Tensor:
        """The vectors of all ids. [V, D]"""
        places_ND = (self.row[:, None, None] + self.column[:, None] + self.code).flatten(0, 2)
        before, after = self.first, len(self.own) - self.first - len(places_ND)
        return self.own + nn.functional.pad(places_ND, (0, 0, before, after))

    def forward(self, ids: Tensor) -> Tensor:
        """The vectors of some ids. [..., D]"""
        return nn.functional.embedding(ids, self.weight)


class TiedHead(nn.Module):
    """A head without a bias whose weight is that of an embedding."""

    bias = None

    def __init__(self, embedding: PlaceEmbedding) -> None:
        super().__init__()
        self.embedding = embedding

    @property
    def weight(self) -> Tensor:
        """[V, D]"""
        return self.embedding.weight

    def forward(self, hidden: Tensor) -> Tensor:
        """The logits of all ids. [..., V]"""
        return nn.functional.linear(hidden, self.weight)


def add_places(model: Any, first: int, rows: int, columns: int, codes: int) -> None:
    """Let a model of transformers whose head is tied embed places; the arguments are those of the embedding."""
    embedding = PlaceEmbedding(model.get_input_embeddings(), first, rows, columns, codes)
    model.set_input_embeddings(embedding)
    model.set_output_embeddings(TiedHead(embedding))


def without_places(model: Any) -> Any:
    """The same function of ids as a model of transformers alone, in which the sums are written out."""
    found = model.get_input_embeddings()
    if not isinstance(found, PlaceEmbedding):
        return model
    plain = copy.deepcopy(model)
    weight_VD = found.weight.detach().clone()
    embedding = nn.Embedding(len(weight_VD), weight_VD.shape[1], device="meta")
    embedding.weight = nn.Parameter(weight_VD)
    head = nn.Linear(weight_VD.shape[1], len(weight_VD), bias=False, device="meta")
    head.weight = embedding.weight
    plain.set_input_embeddings(embedding)
    plain.set_output_embeddings(head)
    return plain
