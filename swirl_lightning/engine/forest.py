"""The texts that continue a batch of prompts as trees of tokens, so that whatever two of them begin with exists once.

A node is a token that the model reads after a prompt; its state predicts the nodes below it. The nodes of one prompt
are laid out in one or more lanes, the batch rows of the model; a node attends to the prompt and to its own ancestors.

Shape letters: N rows, T scored tokens of a row, B lanes, S nodes of a lane, M distinct predictions.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from swirl_lightning.types import Ids

LANE = 256
"""Nodes that a lane may hold at least. Attention is computed between all nodes of a lane, those that do not see each
other included; up to here that costs less than another copy of the prompt's keys and values."""


class Forest(NamedTuple):
    """Rows of text, merged wherever they begin alike, and what is to be predicted.

    Args:
        prompt_of: prompt that each lane continues. [B]
        ids: tokens of the nodes, padded on the right. [B, S]
        depth: tokens between the prompt and the node. [B, S]
        parent: the node before each one, -1 for the prompt. [B, S]
        mask: True on nodes. [B, S]
        lane: lane of the node that makes each prediction. [M]
        node: that node, -1 for the prompt's last token. [M]
        targets: the predicted token. [M]
        scored: row and place among its scored tokens of one occurrence of each prediction. Two of [M]
        prediction_of: prediction of each scored token of each row, -1 where there is none. [N, T]
    """

    prompt_of: Tensor
    ids: Tensor
    depth: Tensor
    parent: Tensor
    mask: Tensor
    lane: Tensor
    node: Tensor
    targets: Tensor
    scored: tuple[Tensor, Tensor]
    prediction_of: Tensor

    @property
    def straight(self) -> bool:
        """Whether every lane is a single text."""
        return bool((self.depth == torch.arange(self.depth.shape[1], device=self.depth.device))[self.mask].all())

    def to(self, device: torch.device | str) -> Forest:
        """The same on a device."""
        row_M, place_M = self.scored
        others = {name: x.to(device) for name, x in self._asdict().items() if name != "scored"}
        return Forest(**others, scored=(row_M.to(device), place_M.to(device)))

    def sight(self) -> Tensor:
        """True where a node sees another one: itself and all above it. [B, S, S]"""
        lanes, width = self.parent.shape
        sees_BSS = torch.eye(width, dtype=torch.bool, device=self.ids.device).expand(lanes, width, width).clone()
        for depth in range(1, int(self.depth.max()) + 1 if width else 0):
            b, s = (self.depth == depth).nonzero(as_tuple=True)
            sees_BSS[b, s] |= sees_BSS[b, self.parent[b, s]]
        return sees_BSS


@dataclass(slots=True)
class _Lane:
    prompt: int
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    children: dict[tuple[int, int], int] = field(default_factory=dict)
    predictions: dict[tuple[int, int, bool], int] = field(default_factory=dict)

    def path(self, row: Ids) -> list[int]:
        """The node that predicts each token of the row, after adding those that are missing."""
        nodes = [-1]
        for depth, token in enumerate(row[:-1]):
            key = (nodes[-1], token)
            if key not in self.children:
                self.children[key] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(nodes[-1])
                self.depths.append(depth)
            nodes.append(self.children[key])
        return nodes


def plant(
    prompts: Sequence[Ids], prompt_of_N: Sequence[int], rows: Sequence[Ids], scored: Sequence[int], *,
    forced: Container[int] = (), apart: Container[int] = (), one_lane: bool = False,
    device: torch.device | str = "cpu",
) -> Forest:  # fmt: skip
    """Merge rows into trees.

    Args:
        prompts: the prompts, for their number and length.
        prompt_of_N: prompt that each row continues.
        rows: N rows of ids. The last token of a row is predicted and never read.
        scored: how many tokens at the end of each row are predicted.
        forced: places among the scored tokens that nothing predicts.
        apart: rows whose predictions are made of another distribution, and so are none of the other rows'.
        one_lane: whether all the nodes of a prompt go into one lane.
        device: where the tensors go.
    """
    if len(set(prompt_of_N)) == len(rows):
        return _lone(prompt_of_N, rows, scored, forced).to(device)
    lanes: list[_Lane] = []
    made: list[tuple[int, int, int, int, int]] = []  # predictions: lane, node, target, and row and place in it
    prediction_of = [[-1] * max(scored) for _ in rows]
    for p, group in _groups(prompt_of_N, rows):
        lengths = [len(rows[n]) - 1 for n in group]
        longest, capacity = max(lengths), sum(lengths) if one_lane else lanes_of(len(prompts[p]), lengths)[1]
        lanes.append(_Lane(p))
        for n in group:
            if lanes[-1].tokens and len(lanes[-1].tokens) + len(rows[n]) - 1 > max(capacity, longest):
                lanes.append(_Lane(p))
            lane = lanes[-1]
            path = lane.path(rows[n])
            start = len(rows[n]) - scored[n]
            for t, key in enumerate(zip(path[start:], rows[n][start:], strict=True)):
                if t in forced:
                    continue
                prediction = lane.predictions.setdefault((*key, n in apart), len(made))
                if prediction == len(made):
                    made.append((len(lanes) - 1, *key, n, t))
                prediction_of[n][t] = prediction
    width = max(len(lane.tokens) for lane in lanes)
    lane_M, node_M, target_M, scored_n, scored_t = torch.tensor(made).T
    return Forest(
        prompt_of=torch.tensor([lane.prompt for lane in lanes]),
        ids=_padded([lane.tokens for lane in lanes], width, 0),
        depth=_padded([lane.depths for lane in lanes], width, 0),
        parent=_padded([lane.parents for lane in lanes], width, -1),
        mask=_padded([[1] * len(lane.tokens) for lane in lanes], width, 0).bool(),
        lane=lane_M,
        node=node_M,
        targets=target_M,
        scored=(scored_n, scored_t),
        prediction_of=torch.tensor(prediction_of),
    ).to(device)


def lanes_of(prompt: int, lengths: Sequence[int]) -> tuple[int, int]:
    """How many lanes the nodes of a prompt's rows take, all different, and of what width each; lanes of like width.

    Args:
        prompt: its tokens.
        lengths: nodes of each row.
    """
    total = sum(lengths)
    lanes = max(-(-total // max(*lengths, LANE, prompt // 4)), 1)
    return lanes, max(-(-total // lanes), *lengths)


def _lone(
    prompt_of_N: Sequence[int], rows: Sequence[Ids], scored: Sequence[int], forced: Container[int]
) -> Forest:  # fmt: skip
    """Rows that share nothing: each is a lane, in the order of the prompts."""
    order = sorted(range(len(rows)), key=prompt_of_N.__getitem__)
    size_B = torch.tensor([len(rows[n]) for n in order])
    scored_B = torch.tensor([scored[n] for n in order])
    lane_M = torch.arange(len(rows)).repeat_interleave(scored_B)
    place_M = torch.arange(len(lane_M)) - (scored_B.cumsum(0) - scored_B)[lane_M]
    target_M = torch.tensor([token for n in order for token in rows[n][len(rows[n]) - scored[n] :]])
    predicted_M = torch.tensor([place not in forced for place in place_M.tolist()])
    lane_M, place_M, target_M = lane_M[predicted_M], place_M[predicted_M], target_M[predicted_M]
    row_M = torch.tensor(order)[lane_M]
    prediction_of_NT = torch.full((len(rows), max(scored)), -1)
    prediction_of_NT[row_M, place_M] = torch.arange(len(lane_M))
    width = int(size_B.max()) - 1
    depth_S = torch.arange(width)
    mask_BS = depth_S < size_B[:, None] - 1
    return Forest(
        prompt_of=torch.tensor([prompt_of_N[n] for n in order]),
        ids=_padded([list(rows[n][:-1]) for n in order], width, 0),
        depth=torch.where(mask_BS, depth_S, 0),
        parent=torch.where(mask_BS, depth_S - 1, -1),
        mask=mask_BS,
        lane=lane_M,
        node=(size_B - scored_B)[lane_M] + place_M - 1,
        targets=target_M,
        scored=(row_M, place_M),
        prediction_of=prediction_of_NT,
    )


def _padded(lists: Sequence[list[int]], width: int, fill: int) -> Tensor:
    """Lists as the rows of one tensor. [B, S]"""
    rows = [values + [fill] * (width - len(values)) for values in lists]
    return torch.tensor(rows, dtype=torch.long)  # one by one, small tensors take longer than the rest


def _groups(prompt_of_N: Sequence[int], rows: Sequence[Ids]) -> list[tuple[int, list[int]]]:
    """The rows of each prompt, those that begin alike side by side."""
    groups: dict[int, list[int]] = {}
    for n, p in enumerate(prompt_of_N):
        groups.setdefault(p, []).append(n)
    return [(p, sorted(group, key=rows.__getitem__)) for p, group in sorted(groups.items())]
