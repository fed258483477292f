"""How many bytes each pass takes at its peak, from the model's shape alone.

The formulas follow the code of the engine and of transformers' layers: what autograd keeps of a layer, what a layer
holds while it runs, what a cache holds while it grows. tests/models/test_memory.py compares them with what torch
allocates.

Shape letters, as numbers here: P prompts and N rows that pass together, L tokens of a prompt, T of a row, B lanes, S
nodes of a lane, D hidden size, F feed-forward size, V rows of the head, which are the ids that may be chosen, K support
size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from swirl_lightning.algorithms.logprobs import COLUMNS, TOKENS
from swirl_lightning.plan.counts import Counts
from swirl_lightning.plan.passes import Parts, Pass
from swirl_lightning.plan.shapes import Shape
from swirl_lightning.plan.vq import VqMemory

CUDA_CONTEXT = 0.6 * 2**30
"""Driver, kernels and workspaces of cuBLAS. Not measured here, for want of a GPU: a common size."""
FRAGMENTATION = 0.05
"""Share of what a pass allocates that the caching allocator of a GPU cannot use. An assumption, not measured."""
HOST = 60 * 2**20
"""What libraries and a tokenizer take of main memory once they are in use; measured with SmolLM2's."""
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""A weight in nf4: 4 bits, and double-quantised scales of blocks of 64 (arXiv:2305.14314)."""


@dataclass(frozen=True)
class Memory:
    """A model and its options.

    Args:
        shape: of the model; its weights alone where nothing is known of what its layers hold while they run.
        bytes: of one activation, and of one weight that is not quantised.
        quantize: of the base's linear maps.
        rank: of the adapters; None for a model whose every weight is trained, one copy per set.
        adapter_bytes: of one of their weights.
        sets: weight sets.
        moments: bytes of the optimiser per trained weight.
        checkpointing: whether layers keep nothing but their input for backward.
        gpu: whether it runs on one.
        vq: of the VQ network beside it; None where there is none.
    """

    shape: Shape | Counts
    bytes: int
    quantize: Literal["none", "int8", "nf4"] = "none"
    rank: int | None = 16
    adapter_bytes: int = 4
    sets: int = 3
    moments: int = 8
    checkpointing: bool = False
    gpu: bool = False
    vq: VqMemory | None = None

    @property
    def known(self) -> bool:
        """Whether activations and caches can be told."""
        return isinstance(self.shape, Shape)

    @property
    def _dense(self) -> Shape:
        assert isinstance(self.shape, Shape)
        return self.shape

    def peak(self, work: Pass, rows: int) -> Parts:
        """The fullest moment of a pass with ``rows`` rows at a time; the weights alone where no more is known.

        Of rows of two shapes that pass together, fewer than all take no more than as many of the larger shape.
        """
        if not self.known:
            return self.resident(work.learners) + Parts(device=CUDA_CONTEXT if self.gpu else HOST)
        found = self._moment(work, rows)
        if work.beside:
            others = self._moment(work.beside, rows)
            found = found + others if rows >= work.most else max(found, others, key=lambda parts: parts.total)
        device = CUDA_CONTEXT + FRAGMENTATION * found.total if self.gpu else HOST
        kept = Parts() if work.kind == "generation" else Parts(head=self._kept(work))
        return self.resident(work.learners) + found + kept + Parts(device=device)

    def _moment(self, work: Pass, rows: int) -> Parts:
        moments = {"generation": self._generation, "scoring": self._scoring, "update": self._update}[work.kind]
        return max(moments(work, min(rows, work.rows)), key=lambda parts: parts.total)

    def resident(self, learners: int = 1) -> Parts:
        """Weights, and what belongs to those that learn; gradients twice, for the undo of a micro-batch."""
        shape = self.shape
        if self.rank is None:
            trained = shape.parameters
            base, adapters = float(self.sets * trained * self.bytes), 0
        else:
            trained = shape.lora_parameters(self.rank)
            linear = {"none": self.bytes, "int8": 1.0, "nf4": NF4_BYTES}[self.quantize]
            base = linear * shape.linear_parameters + self.bytes * shape.other_parameters
            adapters = self.sets * trained * self.adapter_bytes
        base += self.vq.weights if self.vq else 0.0
        width = self.bytes if self.rank is None else self.adapter_bytes
        return Parts(base, adapters, optimiser=learners * trained * (self.moments + width) + trained * width)

    # ---- moments of each pass, beside the weights

    def _generation(self, work: Pass, rows: int) -> list[Parts]:
        P, L, T = work.prompts(rows), work.prompt, work.row
        width = min(rows, work.group_size)  # of a prompt's tree, where all samples differ from the first token on
        V, K = self._choices(work), self._support(work)
        kept = self._kept(work)
        tokens = L + width * (T - 1)
        room = L + L // 2 if T > 1 else 0
        while T > 1 and room < tokens:
            room += max(room // 2, 1)
        cache = self._cache(P * (L + room)) + self._cache(P * room) / self._dense.layers
        step = self._masked_layer(P, width, tokens)
        # logits, log-probs, those of the step before; for a support also their sorted copy and its sums
        draw = rows * V * (self.bytes + (34 + 12 * self.gpu if K else 12))
        return [
            Parts(activations=self.vq.passing if self.vq else 0.0),  # of what was written pictures are made
            Parts(cache=self._cache(P * L), activations=self._layer(P * L), head=kept),
            Parts(cache=cache, activations=step, head=kept),
            Parts(cache=cache, head=kept + draw),
            Parts(head=3 * kept),
        ]

    def _scoring(self, work: Pass, rows: int) -> list[Parts]:
        P, L, T = work.prompts(rows), work.prompt, work.row
        b = 4 if work.exact else self.bytes
        widened = (4 + 2 * (self.quantize != "none")) * self._largest_linear if b > self.bytes else 0
        head = Parts(head=self._head(rows * T, work))
        if work.group_size == 1:  # packed
            return [Parts(activations=widened + self._layer(P * (L + T - 1), b)), head]
        B, S = work.lanes(rows)
        keys_values = self._cache(P * L, b) + self._cache(B * (L + S), b)
        trees = self._masked_layer(B, S, L + S, b)
        return [
            Parts(cache=self._cache(P * L, b), activations=widened + self._layer(P * L, b)),
            Parts(cache=keys_values, activations=widened + trees),
            Parts(cache=self._cache(P * L, b)) + head,
        ]

    def _update(self, work: Pass, rows: int) -> list[Parts]:
        P, L, T = work.prompts(rows), work.prompt, work.row
        head, states = self._head(rows * T, work, gradient=True), self._states(rows * T, gradient=True)
        both = 2 * self._states(0, gradient=True)  # an embedding that is the head too: of its two uses
        B, S = work.lanes(rows)
        if work.group_size == 1 or self.checkpointing:
            W = L + (rows // P) * (T - 1)
            straight = work.group_size == 1
            seen = 0.0 if straight else float(P * W * W)
            layer = self._saved(P * W) + self._keys_saved(P, W, W, masked=not straight)
            if self.checkpointing:
                kept, again = self._dense.layers * P * W * self._dense.hidden * self.bytes + seen, layer
            else:
                kept, again = self._dense.layers * layer + seen, 0.0
            return [
                Parts(activations=kept, head=head),
                Parts(activations=kept + again + self._backward(P * W), head=states),
                Parts(head=both),
            ]
        layers = self._dense.layers
        prompts = layers * (self._saved(P * L) + self._keys_saved(P, L, L, masked=False) - self._cache(P * L) / layers)
        trees = layers * (self._saved(B * S) + self._keys_saved(B, S, L + S, masked=True)) + B * S * (L + S)
        cache = self._cache(P * L)
        # autograd keeps what is in the cache, or copies of it, one for each head that shares keys and values
        held = self._cache(B * (L + S)) if self._dense.heads > self._dense.kv_heads else 0.0
        return [
            Parts(cache=cache + held, activations=prompts + trees + self._layer(B * S)),
            Parts(cache=cache, activations=prompts + trees, head=head),
            Parts(cache=cache, activations=prompts + trees + self._backward(B * S), head=states),
            Parts(cache=2 * cache, activations=prompts + self._backward(P * L), head=self._states(0, gradient=True)),
            Parts(head=both),
        ]

    # ---- bytes of single things

    def _cache(self, tokens: float, b: int | None = None) -> float:
        """Keys and values of all layers."""
        return 2 * self._dense.layers * self._dense.kv_heads * self._dense.head_size * tokens * (b or self.bytes)

    @property
    def _largest_linear(self) -> int:
        return max(i * o for i, o in self._dense.linears)

    @property
    def _dequantised(self) -> float:
        """The one weight that is widened while it is used."""
        return {"none": 0, "int8": 2, "nf4": 1}[self.quantize] * self.bytes * self._largest_linear

    def _layer(self, tokens: int, b: int | None = None) -> float:
        """What a layer holds at its fullest, without gradient: in the feed-forward part."""
        b = b or self.bytes
        shape = self._dense
        wide = (3 if shape.gated else 2) + (self.quantize != "none")  # adapters add to what is there
        feed_forward = b * tokens * (wide * shape.intermediate + 4 * shape.hidden)
        norm = tokens * shape.hidden * (3 * 4 + 2 * b)
        return max(feed_forward, norm) + 2 * b * tokens * shape.head_size + self._dequantised

    def _masked_layer(self, B: int, S: int, W: int, b: int | None = None) -> float:
        """The same for S queries and W keys with a mask, which attention takes as numbers to be added.

        Keys and values are then repeated for the heads that share them.
        """
        b, shape = b or self.bytes, self._dense
        queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
        repeated = 2 * b * W * queries if shape.heads > shape.kv_heads and S > 1 else 0
        attention = B * (b * S * (2 * shape.hidden + 3 * queries + 2 * keys) + repeated + S * W * (b + 1))
        return max(self._layer(B * S, b), attention) + B * S * W

    def _saved(self, tokens: int) -> float:
        """What autograd keeps of one layer, keys and values apart."""
        shape, b, r = self._dense, self.bytes, self.rank or 0
        D, F, Q = shape.hidden, shape.intermediate, shape.heads * shape.head_size
        if shape.rms_norm:
            norms = shape.norms * (4 * D + b * D)  # input in float32, output
            norms += 4 * (shape.heads + shape.kv_heads) * shape.head_size * shape.qk_norm
            if self.rank is None:  # the weights of norms learn too
                norms += 2 * b * D + b * (shape.heads + shape.kv_heads) * shape.head_size * shape.qk_norm
        else:
            norms = shape.norms * 2 * b * D
        wide = norms + 2 * b * Q + 4 * shape.heads + b * shape.kept * F + b * r * len(shape.linears)
        if shape.fused and not shape.positions:  # values are a part of what they came with; rotated, the rest is anew
            wide += b * (Q + shape.kv_heads * shape.head_size)
        casts = b * shape.lora_parameters(r) / shape.layers if r and self.adapter_bytes != b else 0
        return tokens * wide + casts

    def _keys_saved(self, B: int, S: int, W: int, *, masked: bool) -> float:
        """Keys and values that autograd keeps of one layer, and the mask as attention takes it."""
        heads = self._dense.heads if masked else self._dense.kv_heads
        return self.bytes * B * W * (2 * heads * self._dense.head_size + S * masked)

    def _backward(self, tokens: int) -> float:
        """Gradients in flight in a layer."""
        return tokens * (2 * self.bytes * self._dense.intermediate + 4 * self._dense.hidden) + self._dequantised

    def _states(self, tokens: int, gradient: bool = False) -> float:
        """Hidden states of the predictions, and the gradient of an embedding that learns."""
        embedding = self._dense.vocab * self._dense.hidden * self.bytes if gradient and self.rank is None else 0
        return tokens * self._dense.hidden * (self.bytes + (4 if gradient else 0)) + embedding

    def _kept(self, work: Pass) -> float:
        """Supports of the whole batch, from generation on."""
        return 4.0 * work.rows * work.row * self._support(work)

    def _support(self, work: Pass) -> int:
        return min(work.support, self._choices(work)) if work.truncated else 0

    def _choices(self, work: Pass) -> int:
        return self._dense.vocab if work.choices is None else work.choices

    def _head(self, tokens: int, work: Pass, gradient: bool = False) -> float:
        """Hidden states of the predictions, a tile of logits, the support."""
        tile = (
            min(tokens, TOKENS) * min(self._choices(work), COLUMNS) * (8 if self.bytes == 4 else 10)
        )  # and the one before
        support = 8 * tokens * self._support(work)  # of the piece, and of its distinct predictions
        support += 28 * min(tokens * self._support(work), TOKENS * COLUMNS)  # a tile's columns
        return self._states(tokens, gradient) + tile + support
