"""Is the peak that ``swirl plan`` predicts the one that is measured?

Every case runs in a process of its own: it loads the model, then makes each pass once, as training does. The peak is
resident memory (VmHWM, reset before every pass) less what the interpreter held before the model was loaded.

    python benchmarks/memory_plan.py --model FOLDER --out benchmarks/results/memory_plan.json

``--model`` is SmolLM2-135M-Instruct, by name or as a folder with its GGUF file.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import results_file
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from swirl_lightning.codecs import CodecForm, Layout
from swirl_lightning.engine import Sampling
from swirl_lightning.engine.continuation import Continuation, SharedPrompts
from swirl_lightning.engine.micro_batches import MicroBatchSizes
from swirl_lightning.models import LoraWeights, Policy, PretrainedLM
from swirl_lightning.models.optimizers import OptimizerOptions
from swirl_lightning.plan.memory import Memory
from swirl_lightning.plan.passes import Pass
from swirl_lightning.plan.shapes import config_shape
from swirl_lightning.types import Answer

SETS, RANK = ("fwm", "idm", "reference"), 16
PACKAGES = ("swirl-lightning", "torch", "transformers", "peft", "bitsandbytes")


@dataclass(frozen=True)
class Case:
    """One measurement: P prompts of L tokens, G rows of T tokens each, ``rows`` of them at a time."""

    dtype: Literal["float32", "bfloat16"]
    prompts: int
    prompt: int
    row: int
    group: int
    rows: int
    checkpointing: bool = False
    nf4: bool = False


CASES = (
    Case("float32", 1, 512, 16, 8, 8),
    Case("float32", 1, 1024, 16, 16, 16),
    Case("float32", 1, 512, 64, 8, 4),
    Case("float32", 1, 512, 64, 8, 8, checkpointing=True),
    Case("float32", 1, 1024, 16, 16, 16, checkpointing=True),
    Case("float32", 4, 512, 32, 1, 4),
    Case("float32", 4, 512, 32, 1, 4, checkpointing=True),
    Case("bfloat16", 1, 512, 16, 8, 8),
    Case("bfloat16", 1, 1024, 16, 16, 16),
    Case("bfloat16", 1, 512, 64, 8, 4),
    Case("bfloat16", 1, 1024, 16, 16, 16, checkpointing=True),
    Case("bfloat16", 1, 512, 16, 8, 8, nf4=True),
    Case("bfloat16", 1, 1024, 64, 8, 8, checkpointing=True, nf4=True),
)


def status(name: str) -> int:
    """VmRSS or VmHWM of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def peak(work: Callable[[], object]) -> int:
    """Most resident bytes while ``work`` runs."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    work()
    return status("VmHWM")


def warm_up(dtype: torch.dtype) -> None:
    """Load what torch loads on first use, so that it is part of the baseline."""
    x = torch.randn(64, 64, dtype=dtype, requires_grad=True)
    nn.functional.scaled_dot_product_attention(*(x.view(1, 1, 64, 64),) * 3).sum().backward()
    (x @ x).float().sort()


def quantised(config: LlamaConfig) -> Any:
    """A model with random weights whose layers are in nf4."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    for parent in list(model.model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear):
                new = Linear4bit(
                    layer.in_features, layer.out_features, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4",
                    compress_statistics=True,
                )  # fmt: skip
                new.weight = Params4bit(
                    layer.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True
                )
                setattr(parent, name, new.to("cpu"))
    return model


def build(case: Case, name: str) -> tuple[Any, Any]:
    """The model with its adapters, and its configuration."""
    if not case.nf4:
        base = PretrainedLM(name, dtype=case.dtype, lora_rank=RANK, gradient_checkpointing=case.checkpointing)
        weights: Any = base.weights(base.codec((), CodecForm({"": Layout()}, "delta", 1024)), SETS)
        return weights, weights.model.config
    from peft import LoraConfig

    from swirl_lightning.models.quantized import prepare_quantized

    config = LlamaConfig(
        vocab_size=32000, hidden_size=1024, intermediate_size=2816, num_hidden_layers=12, num_attention_heads=16,
        num_key_value_heads=4, tie_word_embeddings=True, bos_token_id=None,
    )  # fmt: skip
    model = quantised(config)
    prepare_quantized(model)
    lora = LoraConfig(r=RANK, lora_alpha=32, target_modules="all-linear", lora_dropout=0.0)
    return LoraWeights(model, SETS, lora, gradient_checkpointing=case.checkpointing), config


def measure(case: Case, name: str) -> dict[str, Any]:
    """Predicted and measured peaks of each pass."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dtype = getattr(torch, case.dtype)
    warm_up(dtype)
    baseline = status("VmRSS")
    weights, config = build(case, name)
    return asdict(case) | {"passes": peaks(case, weights, config, baseline)}


def memory_of(case: Case, config: Any) -> Memory:
    """What the plan knows of a model."""
    return Memory(
        config_shape(config), getattr(torch, case.dtype).itemsize, quantize="nf4" if case.nf4 else "none", rank=RANK,
        sets=len(SETS), checkpointing=case.checkpointing,
    )  # fmt: skip


def planned(case: Case, *, shared: bool = True) -> dict[str, Pass]:
    """The passes of a case; ``shared``: whether prompts pass once."""
    work = Pass("update", "update", case.prompts, case.group, case.prompt, case.row)
    work = work if shared else work.alone()
    scoring = replace(work, kind="scoring")
    return {
        "generation": replace(work, kind="generation"),
        "scoring": scoring,
        "reward": replace(scoring, exact=True),
        "update": work,
    }


def peaks(
    case: Case, weights: Any, config: Any, baseline: int, engine: type[Continuation] = SharedPrompts
) -> dict[str, dict[str, Any]]:
    """Predicted and measured bytes of each pass."""
    weights.set_trainable("fwm")
    sizes = MicroBatchSizes(case.rows, case.rows, case.rows)
    policy = Policy(weights, "fwm", Answer(), engine, sizes)
    optimizer = OptimizerOptions().make(policy.parameters(), 1e-5)
    memory = memory_of(case, config)
    vocabulary = config.vocab_size
    prompts = [tuple(torch.randint(1, vocabulary, (case.prompt,)).tolist()) for _ in range(case.prompts)]
    prompt_of = torch.arange(case.prompts).repeat_interleave(case.group)
    rows = [tuple(torch.randint(1, vocabulary, (case.row,)).tolist()) for _ in prompt_of]
    scored = [case.row] * len(rows)

    def generate() -> None:
        policy.generate(
            prompts, range(case.prompts), group_size=case.group, max_tokens=case.row, sampling=Sampling(0.7)
        )

    def score() -> None:
        with torch.no_grad():
            policy.logprobs(prompts, prompt_of, rows, scored)

    def reward() -> None:
        with weights.scoring_precision():
            score()

    def update() -> None:
        policy.accumulate(prompts, prompt_of, rows, scored, lambda n, scores: (scores.logp.sum(), None), plain=True)
        optimizer.step()

    update()  # gradients and moments are there from the first update on
    works: dict[str, Callable[[], None]] = {
        "generation": generate, "scoring": score, "reward": reward, "update": update,
    }  # fmt: skip
    results = {}
    for label, work in planned(case, shared=engine is SharedPrompts).items():
        measured = peak(works[label]) - baseline
        parts = memory.peak(work, case.rows)
        results[label] = {
            "predicted": round(parts.total), "measured": measured, "error": round(parts.total / measured - 1, 4),
            "parts": {part: round(value) for part, value in asdict(parts).items()},
        }  # fmt: skip
    return results


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {"processor": names[0] if names else platform.processor(), "cores": os.cpu_count(), "threads": 1}


def alone(*command: str) -> dict[str, Any]:
    """What a script prints last, which runs in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """All cases, each in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--case", type=int, help="measure this one alone, and print it")
    options = parser.parse_args()
    if options.case is not None:
        print(json.dumps(measure(CASES[options.case], options.model)))
        return
    cases = []
    for index in range(len(CASES)):
        cases.append(alone(__file__, "--model", options.model, "--case", str(index)))
        errors = {name: f"{value['error']:+.1%}" for name, value in cases[-1]["passes"].items()}
        peak_bytes = max(value["measured"] for value in cases[-1]["passes"].values())
        print(CASES[index], f"{peak_bytes / 2**30:.2f} GiB", errors, flush=True)
        if options.out:
            write(options, cases)


def write(options: argparse.Namespace, cases: list[dict[str, Any]]) -> None:
    """What was measured so far, and with what."""
    command = shlex.join(["python", *sys.argv]).replace(options.model, Path(options.model).name)
    versions = {package: version(package) for package in PACKAGES} | {"python": platform.python_version()}
    record = {"command": command, "versions": versions, "machine": machine(), "cases": cases}
    results_file.write(options.out, record, depth=4)


if __name__ == "__main__":
    main()
