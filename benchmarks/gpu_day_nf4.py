"""One part of benchmarks/gpu_day.py: a base in nf4 beside the same in bfloat16, in bytes, in time and in gradients."""

from __future__ import annotations

import gc
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import torch
from gpu_day_fit import TINY, known_shape, peak_bytes, reset_peak, write_log, write_model

from swirl_lightning.codecs import CodecForm, Layout
from swirl_lightning.engine.micro_batches import MicroBatchSizes
from swirl_lightning.engine.sharing import choose_engine
from swirl_lightning.models import Policy, PretrainedLM
from swirl_lightning.types import Answer

MODEL = "Qwen/Qwen2.5-3B-Instruct"
PROMPT, ROW, ROWS = 1024, 32, 8
QUANTIZE: tuple[Literal["none", "nf4"], ...] = ("none", "nf4")


def nf4_part(dry_run: bool) -> dict[str, Any]:
    """An update of both.

    Returns:
        For each: bytes of the weights, peak, seconds of a pass with gradient, the share of adapter tensors that get a
        gradient, and the largest difference between log-probs of rows that pass together and alone, in nats.
    """
    device = torch.device("cpu" if dry_run else "cuda")
    prompt, row, rows = (32, 4, 3) if dry_run else (PROMPT, ROW, ROWS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shape = TINY if dry_run else known_shape(MODEL)
        write_model(folder / "model", shape, write_log(folder / "log.jsonl", 64))
        found = {}
        for quantize in QUANTIZE:
            gc.collect()
            found[quantize] = measure(str(folder / "model"), quantize, device, prompt, row, rows)
    return {"model": "tiny" if dry_run else MODEL, "prompt": prompt, "row": row, "rows": rows, **found}


def measure(name: str, quantize: Literal["none", "nf4"], device: torch.device, prompt: int, row: int, rows: int) -> Any:
    """One base."""
    before = torch.cuda.memory_allocated() if device.type == "cuda" else 0
    base = PretrainedLM(name, quantize=quantize, dtype="bfloat16", lora_rank=8, gradient_checkpointing=True)
    with device:
        weights = base.weights(base.codec((), CodecForm({"": Layout()}, "delta", 4096)), ("fwm",)).to(device)
    model = weights.activate("fwm")
    held = torch.cuda.memory_allocated() - before if device.type == "cuda" else None
    engine = choose_engine(model, 4096, "auto")
    policy = Policy(weights, "fwm", Answer(), engine, MicroBatchSizes(rows, rows, rows))
    weights.set_trainable("fwm")
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.vocab_size

    def draw(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(1, vocabulary, (length,), generator=generator).tolist())

    texts, completions = [draw(prompt)], [draw(row) for _ in range(rows)]
    prompt_of, scored = torch.zeros(rows, dtype=torch.long), [row] * rows
    with torch.no_grad():
        for values in weights.named("fwm").values():  # the second matrix of an adapter is zero when it is new
            values += 0.01 * torch.randn(values.shape, generator=generator).to(values)

    def update() -> None:
        policy.accumulate(texts, prompt_of, completions, scored, lambda n, scores: (scores.logp.sum(), None))

    update()  # what is made at the first use
    for parameter in policy.parameters():
        parameter.grad = None
    reset_peak()
    started = now(device)
    update()
    seconds, peak = now(device) - started, peak_bytes()
    parameters = policy.parameters()
    reached = sum(p.grad is not None and bool(p.grad.isfinite().all() and p.grad.any()) for p in parameters)
    with torch.no_grad():
        together = policy.logprobs(texts, prompt_of, completions, scored).logp
        alone = [policy.logprobs(texts, prompt_of[:1], [its], [row]).logp for its in completions]
    difference = float((together - torch.cat(alone)).abs().max())
    return {
        "weights": held, "peak": peak, "seconds": seconds, "adapters_with_gradient": reached / len(parameters),
        "difference_alone": difference,
    }  # fmt: skip


def now(device: torch.device) -> float:
    """Seconds, all work of the GPU done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
