"""Seconds of a decoding step on a GPU, recorded as a CUDA graph and not.

Random weights of Qwen2.5-7B's shape in nf4 with one LoRA adapter: they need not be real to measure time and memory.

    python benchmarks/decoding.py --out benchmarks/results/decoding.json

Needs ``pip install 'swirl-lightning[bench]'``. Without a GPU it writes what it skipped.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from peft import get_peft_model
from results_file import write
from vs_trl_work import QWEN_7B, lora, qwen_7b, random_nf4

from swirl_lightning.engine import Sampling
from swirl_lightning.engine.decoding import GrowingStep, decoding_step, unrecordable
from swirl_lightning.engine.sampling import grow, uniforms
from swirl_lightning.engine.shared_prefix import encode_prefix
from swirl_lightning.types import Answer

POINTS = [
    {"prompt": prompt, "group": group, "tokens": tokens}
    for prompt in (1024, 4096)
    for group, tokens in ((16, 32), (16, 256), (64, 32), (64, 256))
]
REPEATS = 5
PACKAGES = ("swirl-lightning", "torch", "transformers", "peft", "bitsandbytes")


@torch.no_grad()
def compare(model: Any, point: dict[str, int], repeats: int = REPEATS) -> dict[str, Any]:
    """Medians of whole generations, prompt included, in turn; a first round is not counted.

    Returns:
        Seconds and tokens per second of ``eager`` and ``recorded``, how many times as fast the latter is, and whether
        both drew the same tokens.
    """
    generator = torch.Generator().manual_seed(0)
    size, tokens = point["group"], point["tokens"]
    prompt = tuple(torch.randint(5, model.config.vocab_size, (point["prompt"],), generator=generator).tolist())
    makers: dict[str, Callable[..., Any]] = {
        "eager": GrowingStep,
        "recorded": lambda model, prefix: decoding_step(model, prefix, tokens),
    }
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    drawn, memory = {}, {}
    for _ in range(1 + repeats):
        for name, maker in makers.items():
            reset_memory()
            started = now()
            prefix = encode_prefix(model, [prompt])
            numbers = uniforms([0], size, tokens)[0]
            drawn[name] = grow(model, prefix, [0] * size, numbers, Answer(), Sampling(), maker(model, prefix)).tokens
            seconds[name].append(now() - started)
            memory[name] = torch.cuda.max_memory_allocated() >> 20 if torch.cuda.is_available() else None
    found: dict[str, Any] = {
        name: {"seconds": median(s[1:]), "tokens_per_second": size * tokens / median(s[1:]), "peak_mib": memory[name]}
        for name, s in seconds.items()
    }
    speedup = found["eager"]["seconds"] / found["recorded"]["seconds"]
    same = float((drawn["eager"] == drawn["recorded"]).float().mean())
    return point | found | {"speedup": speedup, "same_tokens": same, "recordable": model not in unrecordable}


def reset_memory() -> None:
    """Count the peak from here on."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def now() -> float:
    """Seconds, all work of the GPU done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Measure all points, or say that they are skipped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "model": f"{QWEN_7B}, nf4",
        "versions": {name: version(name) for name in PACKAGES},
    }
    if torch.cuda.is_available():
        model = get_peft_model(random_nf4(qwen_7b(), torch.device("cuda")), lora()).get_base_model().eval()
        found |= {"device": torch.cuda.get_device_name(), "points": [compare(model, point) for point in POINTS]}
    else:
        found |= {"skipped": f"no GPU here: {len(POINTS)} points", "points": POINTS}
    write(options.out, found, depth=3)
    if "skipped" in found:
        print(f"skipped: {found['skipped']}")
        return
    for point in found["points"]:
        print({key: point[key] for key in ("prompt", "group", "tokens", "speedup", "same_tokens", "recordable")})


if __name__ == "__main__":
    main()
