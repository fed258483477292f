"""What both sides of benchmarks/vs_trl.py are given, and how they load, time and measure it.

Shape letters: P groups of an update, G samples per group, T completion tokens.
"""

from __future__ import annotations

import contextlib
import gc
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import bitsandbytes as bnb
import numpy as np
import torch
from peft import LoraConfig
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Qwen2Config

from swirl_lightning.codecs import CodecForm, Layout
from swirl_lightning.models import PretrainedLM
from swirl_lightning.types import Ids, Role

# tokens that pass through TRL's model at once. It was fastest so: an update of 8 rows of 528 tokens (SmolLM2-135M, 2
# cores) took 62.1 s and 9.3 GB with 4 rows at once, 68.6 s and 15.8 GB with 8, 65.9 s and 5.3 GB with 2
TRL_TOKENS = 2560
LORA_RANK, LORA_ALPHA, LEARNING_RATE = 16, 32.0, 1e-5
SETS = ("policy", "reference", "scorer")
QWEN_7B = "random weights of Qwen2.5-7B's shape"


class Group(NamedTuple):
    """One prompt. Its completions z are rewarded with the scorer's mean log-prob of ``target``.

    Args:
        prompt: what z completes.
        head: how the scorer's text begins, whatever z is.
        after: what the scorer's text has between z and the target.
        target: what is scored.
    """

    prompt: Ids
    head: Ids
    after: Ids
    target: Ids


@dataclass(frozen=True)
class Work:
    """The updates that both sides make. Update 0 is the check: its completions and advantages are given.

    Args:
        role: who learns.
        model: a name on the hub, a folder as in ``PretrainedLM``, or ``QWEN_7B`` (nf4, on a GPU).
        checkpoint: of a run whose adapters are taken; None draws random ones.
        updates: the groups of each update.
        completions: of update 0. [P, G]
        rewards: that update 0 learns from. [P, G]
        group_size: G.
        max_tokens: of a completion.
        eos: the id that ends a completion; -1: none does, and every completion has ``max_tokens``.
        beta: weight of the KL.
        micro_batch: rows that TRL passes through the model at once.
    """

    role: Role
    model: str
    checkpoint: str | None
    updates: tuple[tuple[Group, ...], ...]
    completions: tuple[tuple[Ids, ...], ...]
    rewards: tuple[tuple[float, ...], ...]
    group_size: int
    max_tokens: int
    eos: int
    beta: float
    micro_batch: int

    @property
    def gpu(self) -> bool:
        """Whether this is work for a GPU."""
        return self.model == QWEN_7B


class Sizes(NamedTuple):
    """Multiply-adds of a model with one adapter in use.

    Args:
        trunk: of one token in the linear layers, the head apart.
        head: and in the head.
        attention: and in attention, for every token it looks at.
    """

    trunk: int
    head: int
    attention: int


@dataclass
class Loaded:
    """A side is ready: the bytes it holds, and the model's sizes."""

    memory: int
    sizes: Sizes


@dataclass
class Update:
    """What a side reports after an update.

    Args:
        seconds: of generation, scoring (rewards and reference) and update (the rest).
        memory: the most bytes held so far.
        tokens: sampled, end tokens included.
        distinct: how many completions differ, group by group.
        rewards: of every sample, in order. P * G
        loss: of the update.
        gradient: of the policy's adapter, in update 0 only.
    """

    seconds: dict[str, float]
    memory: int
    tokens: int
    distinct: int
    rewards: list[float]
    loss: float
    gradient: dict[str, np.ndarray] = field(default_factory=dict)


class Clock:
    """Seconds by part. What no part claims of the time from ``start`` on is the update."""

    def __init__(self, gpu: bool) -> None:
        self.gpu = gpu
        self.start()

    def start(self) -> None:
        """Begin an update."""
        self.parts = {"generation": 0.0, "scoring": 0.0}
        self.started = self._now()

    @contextlib.contextmanager
    def part(self, name: str, within: str | None = None) -> Iterator[None]:
        """Count the time of a block to ``name``; the part ``within`` that encloses it gives it up."""
        started = self._now()
        yield
        seconds = self._now() - started
        self.parts[name] += seconds
        if within:
            self.parts[within] -= seconds

    def stop(self) -> dict[str, float]:
        """Seconds of every part."""
        return self.parts | {"update": self._now() - self.started - sum(self.parts.values())}

    def _now(self) -> float:
        if self.gpu:
            torch.cuda.synchronize()
        return time.perf_counter()


def random_groups(prompt_tokens: int, scored_tokens: int, vocabulary: int, rng: random.Random) -> tuple[Group, ...]:
    """A prompt of random tokens, whose last ``scored_tokens`` are what the scorer is asked for."""
    prompt = tuple(rng.randrange(1000, vocabulary) for _ in range(prompt_tokens))
    return (Group(prompt, prompt[:-scored_tokens], (), prompt[-scored_tokens:]),)


def random_completions(groups: int, size: int, max_tokens: int, rng: random.Random) -> tuple[tuple[Ids, ...], ...]:
    """Completions of several lengths; the last of a group repeats its first."""
    lengths = [max(max_tokens - g % 3, 1) for g in range(size - 1)]
    drawn = [[tuple(rng.randrange(1000, 9000) for _ in range(n)) for n in lengths] for _ in range(groups)]
    return tuple((*group, group[0]) for group in drawn)


def random_rewards(completions: Sequence[Sequence[Ids]], rng: random.Random) -> tuple[tuple[float, ...], ...]:
    """One reward per completion, the same for the same."""
    values = [{ids: -rng.random() for ids in group} for group in completions]
    return tuple(tuple(value[ids] for ids in group) for value, group in zip(values, completions, strict=True))


def trl_rows(rows: int, length: int) -> int:
    """As many of the update's rows at once as TRL is fastest with; they divide it evenly."""
    fitting = [n for n in range(1, rows + 1) if rows % n == 0 and n * length <= TRL_TOKENS]
    return max(fitting, default=1)


def base_model(work: Work) -> Any:
    """The frozen model without adapters."""
    if work.gpu:
        return random_nf4(qwen_7b(), torch.device("cuda"))
    source = PretrainedLM(work.model, dtype="float32")
    weights: Any = source.weights(source.codec((), CodecForm({"": Layout()}, "delta", 1024)), ())
    weights.model.is_quantized = False  # from a GGUF file, whose weights are plain float32 by now
    return weights.model


def qwen_7b() -> Qwen2Config:
    """The shape of Qwen2.5-7B."""
    return Qwen2Config(
        vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28,
        num_attention_heads=28, num_key_value_heads=4, max_position_embeddings=32768, tie_word_embeddings=False,
    )  # fmt: skip


def random_nf4(config: Qwen2Config, device: torch.device) -> Any:
    """A model with random weights whose linear layers, the head apart, are in nf4, as ``PretrainedLM`` loads one."""
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    for parent in list(model.model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear):
                small = bnb.nn.Linear4bit(
                    layer.in_features, layer.out_features, compute_dtype=torch.bfloat16, quant_type="nf4"
                )
                small.weight = bnb.nn.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
                small.bias = layer.bias
                setattr(parent, name, small.to(device))
    model.is_loaded_in_4bit = True  # PEFT and TRL ask for it
    return model.requires_grad_(False)


def lora() -> LoraConfig:
    """The adapters of both sides."""
    return LoraConfig(r=LORA_RANK, lora_alpha=LORA_ALPHA, target_modules="all-linear", lora_dropout=0.0)


@torch.no_grad()
def fill(work: Work, name: str, parameters: dict[str, nn.Parameter]) -> None:
    """Give one set of adapter weights its values: the same on both sides, none zero, the reference not the policy."""
    generator = torch.Generator().manual_seed(SETS.index(name))
    scale = {"lora_A": 0.04, "lora_B": 0.01}
    values = {
        key: scale[key.split(".")[-2]] * torch.randn(parameters[key].shape, generator=generator)
        for key in sorted(parameters)
    }
    if work.checkpoint:
        other = "idm" if work.role == "fwm" else "fwm"
        saved = torch.load(work.checkpoint, weights_only=True)["state_dict"]
        of = other if name == "scorer" else work.role
        apart = name == "reference"  # were it the policy, the loss would be 0, and there would be nothing to compare
        values = {key: saved[f"{of}/{key}"] + apart * value for key, value in values.items()}
    for key, parameter in parameters.items():
        parameter.copy_(values[key])


def gradients(parameters: dict[str, nn.Parameter]) -> dict[str, np.ndarray]:
    """Every parameter's gradient."""
    return {key: _grad(parameter).float().cpu().numpy() for key, parameter in parameters.items()}


def _grad(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def sizes(model: Any, adapter: dict[str, nn.Parameter]) -> Sizes:
    """Of ``model``, of whose adapters one is used."""
    config, head = model.config, model.get_output_embeddings()
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    linear = sum(
        layer.in_features * layer.out_features
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and "lora_" not in name and layer is not head
    )
    return Sizes(
        trunk=linear + sum(parameter.numel() for parameter in adapter.values()),
        head=head.weight.numel(),
        attention=2 * config.num_hidden_layers * config.num_attention_heads * head_size,
    )


def settle(work: Work) -> int:
    """Forget the peak of loading. Returns the bytes held with the model in place."""
    gc.collect()
    if work.gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    else:
        with contextlib.suppress(OSError):  # where the kernel does not allow it, loading counts
            Path("/proc/self/clear_refs").write_text("5")
    return memory(work, peak=False)


def memory(work: Work, peak: bool) -> int:
    """Bytes that the process holds now, or the most it held: on the GPU, or of main memory."""
    if work.gpu:
        return torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    wanted = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(wanted))
