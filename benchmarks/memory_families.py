"""Is the peak that ``swirl plan`` predicts the one that is measured, for the most used families of models?

Every family is a small model with random weights, and every case of it runs in a process of its own, as in
``memory_plan.py``: resident memory at the peak of each pass, less what the interpreter held before.

    python benchmarks/memory_families.py --out benchmarks/results/memory_families.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import results_file
import torch
from memory_plan import PACKAGES, RANK, SETS, Case, alone, machine, peaks, status, warm_up
from peft import LoraConfig
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from swirl_lightning.engine.continuation import SharedPrompts
from swirl_lightning.engine.sharing import choose_engine
from swirl_lightning.models import LoraWeights
from swirl_lightning.plan.shapes import Shape, config_shape

TOKENS = {"vocab_size": 32000, "max_position_embeddings": 1024, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
DENSE = TOKENS | {
    "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 6, "num_attention_heads": 12,
    "num_key_value_heads": 4, "head_dim": 64,
}  # fmt: skip
OLDER = TOKENS | {"hidden_size": 768, "num_hidden_layers": 6, "num_attention_heads": 12}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("llama", DENSE),
    "Mistral": ("mistral", DENSE),
    "Qwen2": ("qwen2", DENSE),
    "Qwen3": ("qwen3", DENSE),
    "Granite": ("granite", DENSE),
    "Gemma 2": ("gemma2", DENSE | {"num_hidden_layers": 2}),
    "Phi-3": ("phi3", DENSE),
    "OLMo 2": ("olmo2", DENSE),
    "GPT-2": (
        "gpt2", {"vocab_size": 32000, "n_embd": 768, "n_layer": 6, "n_head": 12, "n_positions": 1024,
                 "bos_token_id": 1, "eos_token_id": 2},
    ),
    "OPT": ("opt", OLDER | {"ffn_dim": 3072, "word_embed_proj_dim": 768}),
    "GPT-NeoX": ("gpt_neox", OLDER | {"intermediate_size": 3072}),
    "Mixtral": ("mixtral", DENSE | {"num_local_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 4}),
}  # fmt: skip
"""By the names that people call them: a model type of transformers, and a small shape of it."""
CASES = (
    Case("float32", 1, 512, 32, 8, 8),
    Case("float32", 1, 512, 32, 8, 8, checkpointing=True),
)


def measure(name: str, case: Case) -> dict[str, Any]:
    """A case of a family."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warm_up(torch.float32)
    kind, options = FAMILIES[name]
    config = CONFIG_MAPPING[kind](**options)
    baseline = status("VmRSS")
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", lora_dropout=0.0)
    weights = LoraWeights(model, SETS, lora, gradient_checkpointing=case.checkpointing)
    engine = choose_engine(weights.activate("fwm"), case.prompt + case.row)
    return {
        "family": name, "type": kind, "parameters": sum(p.numel() for p in model.parameters()),
        "known": isinstance(config_shape(config), Shape), "shared": engine is SharedPrompts,
        **asdict(case), "passes": peaks(case, weights, config, baseline, engine),
    }  # fmt: skip


def main() -> None:
    """All families."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--family", nargs="+", choices=FAMILIES, help="these alone")
    parser.add_argument("--case", type=int, help="measure this one of one family, and print it")
    options = parser.parse_args()
    names = options.family or list(FAMILIES)
    if options.case is not None:
        print(json.dumps(measure(names[0], CASES[options.case])))
        return
    cases = []
    commands = [(__file__, "--family", name, "--case", str(index)) for name in names for index in range(len(CASES))]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # memory is each process's own
        for case in pool.map(lambda command: alone(*command), commands):
            cases.append(case)
            ratios = {name: f"{each['predicted'] / each['measured']:.2f}" for name, each in case["passes"].items()}
            print(case["family"], "again" if case["checkpointing"] else "", ratios, flush=True)
            if options.out:
                write(options.out, cases)


def write(out: Path, cases: list[dict[str, Any]]) -> None:
    """What was measured so far, and with what."""
    versions = {package: version(package) for package in PACKAGES} | {"python": platform.python_version()}
    command = shlex.join(["python", *sys.argv])
    results_file.write(out, {"command": command, "versions": versions, "machine": machine(), "cases": cases}, depth=2)


if __name__ == "__main__":
    main()
