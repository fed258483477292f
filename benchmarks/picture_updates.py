"""Seconds of an update where states are pictures of 1,024 codes, plain against shared.

A small random model of Gemma's shape, one prompt and 8 completions, the passes of each phase as in
``memory_pictures.py``: what an update samples, scores and learns from. ``plain`` passes every text by itself,
``shared`` what several texts have in common once. Seconds are those of the processor, so that other work on the machine
counts little; of so many rounds the median.

    python benchmarks/picture_updates.py --out benchmarks/results/picture_updates.json
"""

from __future__ import annotations

import argparse
import platform
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from memory_pictures import CODES, TEXT, passes
from memory_plan import RANK, SETS, warm_up
from peft import LoraConfig
from results_file import write
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from swirl_lightning.engine.continuation import SharedPrompts
from swirl_lightning.engine.plain import PlainTexts
from swirl_lightning.models import LoraWeights

MODEL = {
    "vocab_size": TEXT + CODES, "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 64, "max_position_embeddings": 4096,
    "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
ENGINES = {"plain": PlainTexts, "shared": SharedPrompts}
PARTS = ("generation", "scoring", "update")


def measure(phase: str, rounds: int, sizes: dict[str, Any] = MODEL) -> dict[str, dict[str, list[float]]]:
    """Seconds of each part by engine; both engines take turns."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING["gemma"](**sizes), dtype=torch.float32)
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", lora_dropout=0.0)
    weights = LoraWeights(model, SETS, lora)
    weights.set_trainable("fwm")
    found: dict[str, dict[str, list[float]]] = {name: {part: [] for part in PARTS} for name in ENGINES}
    for number in range(rounds):
        for name, engine in ENGINES.items():
            torch.manual_seed(number)
            for work, make in passes(phase, weights, engine=engine):
                started = time.process_time()
                make()
                found[name][work.kind].append(time.process_time() - started)
    return found


def table(content: dict[str, Any]) -> str:
    """Seconds of each part, plain and shared, and how many times as fast the whole is."""
    lines = ["| pictures | " + " | ".join(PARTS) + " | whole | times as fast |", "| --- " * (3 + len(PARTS)) + "|"]
    for phase, found in content["phases"].items():
        wholes = {}
        for name, parts in found.items():
            seconds = [statistics.median(parts[part]) for part in PARTS]
            wholes[name] = sum(seconds)
            ratio = f"{wholes['plain'] / wholes[name]:.1f}" if name == "shared" else ""
            cells = " | ".join(f"{each:.1f} s" for each in (*seconds, wholes[name]))
            lines.append(f"| {phase.upper()} update, {name} | {cells} | {ratio} |")
    return "\n".join(lines).replace("|  |", "| |") + "\n"


def main() -> None:
    """Both phases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warm_up(torch.float32)
    content: dict[str, Any] = {"command": shlex.join(["python", *sys.argv]), "model": MODEL, "rounds": options.rounds}
    content |= {"machine": f"{platform.machine()}, one thread", "phases": {}}
    for phase in ("elbo", "vim"):
        content["phases"][phase] = measure(phase, options.rounds)
        write(options.out, content, depth=4)
        print(table(content), flush=True)


if __name__ == "__main__":
    main()
