"""Shapes of language models, known without their weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from swirl_lightning.plan.counts import Counts, count
from swirl_lightning.types import InputError


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a decoder-only transformer decides how much memory it takes.

    Args:
        vocab: tokens of the vocabulary.
        hidden: width of the residual stream.
        intermediate: width inside the feed-forward part.
        layers: transformer blocks.
        heads: attention heads.
        kv_heads: heads of keys and values.
        head_size: width of a head.
        tied: whether input and output embedding are one.
        gated: whether the feed-forward part has a gate (Llama's has, GPT's has not).
        rms_norm: whether norms are by root mean square, computed in float32; else they are layer norms.
        qk_norm: whether queries and keys are normalised.
        qkv_bias: whether the projections to queries, keys and values have a bias.
        norms: norms of a layer; one where attention and feed-forward part read the same.
        biased: whether all linear maps of a layer have a bias.
        head_bias: whether the output embedding has one.
        fused: whether queries, keys and values come from one linear map, and the gate with what it is for.
        wide_norm: whether the norm of queries and keys has a weight for each head.
        positions: learned embeddings of positions; none where heads are rotated.
        kept: values of the width of the feed-forward part that autograd keeps of it, a token.
    """

    vocab: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    tied: bool = True
    gated: bool = True
    rms_norm: bool = True
    qk_norm: bool = False
    qkv_bias: bool = False
    norms: int = 2
    biased: bool = False
    head_bias: bool = False
    fused: bool = False
    wide_norm: bool = False
    positions: int = 0
    kept: int = 4  # gate, its activation, up, their product

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of each linear map of a layer."""
        D, F, Q, KV = self.hidden, self.intermediate, self.heads * self.head_size, self.kv_heads * self.head_size
        if self.fused:
            return (D, Q + 2 * KV), (Q, D), (D, F * (2 if self.gated else 1)), (F, D)
        return (D, Q), (D, KV), (D, KV), (Q, D), *(((D, F),) * (2 if self.gated else 1)), (F, D)

    @property
    def linear_parameters(self) -> int:
        """Weights of all layers' linear maps: what is quantised."""
        return self.layers * sum(i * o for i, o in self.linears)

    @property
    def other_parameters(self) -> int:
        """All other weights: embeddings, norms, biases."""
        width = 1 if self.rms_norm else 2
        heads = self.heads + self.kv_heads if self.wide_norm else 2
        per_layer = self.hidden * width * self.norms + heads * self.head_size * self.qk_norm
        if self.biased:
            per_layer += sum(o for _, o in self.linears)
        elif self.qkv_bias:
            per_layer += (self.heads + 2 * self.kv_heads) * self.head_size
        embeddings = self.vocab * self.hidden * (1 if self.tied else 2) + self.vocab * self.head_bias
        embeddings += self.positions * self.hidden
        return embeddings + self.layers * per_layer + self.hidden * width

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.linear_parameters + self.other_parameters

    def lora_parameters(self, rank: int) -> int:
        """Weights of one LoRA adapter on all linear maps of the layers."""
        return self.layers * rank * sum(i + o for i, o in self.linears)


KNOWN = {
    "Qwen/Qwen2.5-0.5B": Shape(151936, 896, 4864, 24, 14, 2, 64, qkv_bias=True),
    "Qwen/Qwen2.5-1.5B": Shape(151936, 1536, 8960, 28, 12, 2, 128, qkv_bias=True),
    "Qwen/Qwen2.5-3B": Shape(151936, 2048, 11008, 36, 16, 2, 128, qkv_bias=True),
    "Qwen/Qwen2.5-7B": Shape(152064, 3584, 18944, 28, 28, 4, 128, tied=False, qkv_bias=True),
    "Qwen/Qwen3-0.6B": Shape(151936, 1024, 3072, 28, 16, 8, 128, qk_norm=True),
    "Qwen/Qwen3-1.7B": Shape(151936, 2048, 6144, 28, 16, 8, 128, qk_norm=True),
    "Qwen/Qwen3-4B": Shape(151936, 2560, 9728, 36, 32, 8, 128, qk_norm=True),
    "Qwen/Qwen3-8B": Shape(151936, 4096, 12288, 36, 32, 8, 128, tied=False, qk_norm=True),
    "meta-llama/Llama-3.2-1B": Shape(128256, 2048, 8192, 16, 32, 8, 64),
    "meta-llama/Llama-3.2-3B": Shape(128256, 3072, 8192, 28, 24, 8, 128),
    "meta-llama/Llama-3.1-8B": Shape(128256, 4096, 14336, 32, 32, 8, 128, tied=False),
    "HuggingFaceTB/SmolLM2-135M": Shape(49152, 576, 1536, 30, 9, 3, 64),
    "HuggingFaceTB/SmolLM2-360M": Shape(49152, 960, 2560, 32, 15, 5, 64),
    "HuggingFaceTB/SmolLM2-1.7B": Shape(49152, 2048, 8192, 24, 32, 32, 64),
    "google/gemma-2b": Shape(256000, 2048, 16384, 18, 8, 1, 256),
    "Junfeng5/Liquid_V1_7B": Shape(264192, 3072, 24576, 28, 16, 16, 256),  # Gemma 7B and 8,192 codes of pictures
}
"""Models by their name on the hub; those tuned to follow instructions have the shape of their base."""


GGUF_LAYER = {
    "attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "attn_q_norm", "attn_k_norm", "ffn_norm", "ffn_gate",
    "ffn_up", "ffn_down",
}  # fmt: skip
"""What a layer of a known kind is made of, by the names of GGUF files."""


KEPT = {"relu": 1, "gelu": 2, "gelu_new": 5}
"""What autograd keeps of a part without a gate, by its activation: relu's result is what the next map reads; gelu's
input too; the others are several steps."""


def shape_of(name: str) -> Shape | Counts:
    """The shape of a model by its name on the hub, of a folder with a config.json, or of one with a GGUF file.

    Nothing is downloaded but, for a name that is not in ``KNOWN``, the hub's config.json of a few kB.

    Raises:
        InputError: nothing of that name is found.
    """
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").exists() and (files := sorted(folder.glob("*.gguf"))):
        return gguf_shape(files[0])
    known = KNOWN.get(name.removesuffix("-Instruct").removesuffix("-it"))
    if known and not folder.is_dir():
        return known
    try:
        return config_shape(AutoConfig.from_pretrained(name, trust_remote_code=False))
    except InputError:
        raise
    except Exception as error:  # a configuration can be wrong in any way
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise InputError(
            f"model.base.name: no configuration of {name!r} ({reason}); expected a folder with config.json or one "
            ".gguf file, or a model name on the hub, which is asked for its config.json unless it is one of "
            + ", ".join(KNOWN)
        ) from error


def config_shape(config: Any) -> Shape | Counts:
    """The shape that a Hugging Face configuration describes; its weights alone where it is of no known kind.

    Of a known kind is a model that has the very weights of such a shape.

    Raises:
        InputError: it describes no causal LM.
    """
    counts = count(config)
    try:
        shape = dense_shape(config)
        known = Counts(shape.linear_parameters, shape.other_parameters, shape.lora_parameters(1)) == counts
    except Exception:  # other kinds lack something, or have a list where these have a number
        return counts
    return shape if known else counts


def dense_shape(config: Any) -> Shape:
    """The shape of a decoder whose layers are like those of Llama, Qwen, Gemma, Phi, OLMo 2, GPT-2, OPT or GPT-NeoX."""
    config = config.get_text_config(decoder=True)
    heads = config.num_attention_heads
    kind = config.model_type
    older = kind in ("phi", "gpt_neox", "gpt2", "opt")  # no gate, layer norms, biases
    act = str(getattr(config, "activation_function", None) or getattr(config, "hidden_act", ""))
    return Shape(
        vocab=config.vocab_size,
        hidden=config.hidden_size,
        intermediate=_width(config),
        layers=config.num_hidden_layers,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
        tied=bool(config.tie_word_embeddings),
        gated=not older,
        rms_norm=hasattr(config, "rms_norm_eps"),
        qk_norm=kind.startswith(("qwen3", "gemma3", "olmo2")),
        qkv_bias=kind == "qwen2" or bool(getattr(config, "attention_bias", False)),
        norms=1 if kind == "phi" else 2,
        biased=older,
        head_bias=kind == "phi",
        fused=kind in ("phi3", "gpt2", "gpt_neox"),
        wide_norm=kind == "olmo2",
        positions={"gpt2": 0, "opt": 2}[kind] + config.max_position_embeddings if kind in ("gpt2", "opt") else 0,
        kept=KEPT.get(act, 6) if older else 4,
    )


def _width(config: Any) -> int:
    """Of the feed-forward part, as each family calls it."""
    for name in ("intermediate_size", "ffn_dim", "n_inner"):
        if width := getattr(config, name, None):
            return int(width)
    return 4 * int(config.hidden_size)


def gguf_shape(path: Path) -> Shape | Counts:
    """The shape that a GGUF file's header describes; its weights alone where it is of no known kind.

    Raises:
        InputError: the package that reads such files is missing, or this is no such file.
    """
    try:
        from gguf import GGUFReader  # an optional dependency
    except ImportError as error:
        raise InputError(f"model.base.name: {path} needs pip install 'swirl-lightning[gguf]'") from error
    try:
        return _read_gguf(GGUFReader(path))
    except Exception as error:  # a damaged file can fail anywhere
        raise InputError(
            f"model.base.name: {path} is no readable GGUF file of a language model ({type(error).__name__}: {error})"
        ) from error


def _read_gguf(reader: Any) -> Shape | Counts:
    kind = reader.fields["general.architecture"].contents()
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    if {name.split(".")[2] for name in tensors if name.startswith("blk.")} - GGUF_LAYER:
        total = sum(int(tensor.n_elements) for tensor in tensors.values())
        linear = [tensor for name, tensor in tensors.items() if name.startswith("blk.") and len(tensor.shape) == 2]
        in_linear = sum(int(tensor.n_elements) for tensor in linear)
        return Counts(in_linear, total - in_linear, sum(int(tensor.shape.sum()) for tensor in linear))

    def field(name: str, otherwise: int = 0) -> int:
        found = reader.fields.get(f"{kind}.{name}")
        return otherwise if found is None else int(found.contents())

    hidden, heads = field("embedding_length"), field("attention.head_count")
    return Shape(
        vocab=int(tensors["token_embd.weight"].shape[1]),
        hidden=hidden,
        intermediate=field("feed_forward_length"),
        layers=field("block_count"),
        heads=heads,
        kv_heads=field("attention.head_count_kv", heads),
        head_size=field("attention.key_length", hidden // heads),
        tied="output.weight" not in tensors,
        gated="blk.0.ffn_gate.weight" in tensors,
        rms_norm="blk.0.attn_norm.bias" not in tensors,
        qk_norm="blk.0.attn_q_norm.weight" in tensors,
        qkv_bias="blk.0.attn_q.bias" in tensors,
        kept=4 if "blk.0.ffn_gate.weight" in tensors else 6,
    )
