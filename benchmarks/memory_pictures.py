"""Is the peak that ``swirl plan`` predicts the measured one where states are pictures of 1,024 codes?

A small random model of Gemma's shape, 32,000 ids of text and 8,192 codes, one prompt and 8 completions. In the VIM
phase the FWM writes pictures and the IDM scores actions behind them; in the ELBO phase the IDM reads two pictures and
the FWM scores one. Each phase runs in a process of its own, as in ``memory_plan.py``.

    python benchmarks/memory_pictures.py --out benchmarks/results/memory_pictures.json
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import results_file
import torch
from memory_plan import PACKAGES, RANK, SETS, alone, machine, peak, status, warm_up
from peft import LoraConfig
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from swirl_lightning.engine import Sampling
from swirl_lightning.engine.continuation import Continuation, SharedPrompts
from swirl_lightning.models import LoraWeights, Policy
from swirl_lightning.models.optimizers import OptimizerOptions
from swirl_lightning.plan.memory import Memory
from swirl_lightning.plan.passes import Kind, Pass
from swirl_lightning.plan.shapes import config_shape
from swirl_lightning.types import Answer, Ids

TEXT, CODES, CELLS, ACTION, WORDS, GROUP = 32000, 8192, 1024, 16, 24, 8
MODEL = {
    "vocab_size": TEXT + CODES, "hidden_size": 640, "intermediate_size": 2560, "num_hidden_layers": 8,
    "num_attention_heads": 10, "num_key_value_heads": 10, "head_dim": 64, "max_position_embeddings": 4096,
    "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
PICTURE = Answer(allowed=(TEXT, TEXT + CODES - 1), length=CELLS)
NAME = Answer(end=1, allowed=(0, TEXT - 1))


@dataclass(frozen=True)
class Work:
    """A pass of a phase: what is written or scored behind a prompt of so many tokens.

    Args:
        kind: of the pass.
        answer: what the role may write.
        prompt: tokens that all rows begin with.
        before: tokens of a row before those that are scored.
        scored: the others.
    """

    kind: Kind
    answer: Answer
    prompt: int
    before: int
    scored: int

    @property
    def planned(self) -> Pass:
        """As the plan knows it."""
        rows = self.answer.rows
        return Pass(
            self.kind, self.kind, 1, GROUP, self.prompt, self.before + self.scored, choices=rows.stop - rows.start
        )


PHASES: dict[str, tuple[Work, ...]] = {
    "vim": (
        Work("generation", PICTURE, CELLS + ACTION + WORDS, 0, CELLS),
        Work("scoring", NAME, CELLS + WORDS, CELLS, ACTION),
        Work("update", PICTURE, CELLS + ACTION + WORDS, 0, CELLS),
    ),
    "elbo": (
        Work("generation", NAME, 2 * CELLS + WORDS, 0, ACTION),
        Work("scoring", PICTURE, CELLS + WORDS, ACTION, CELLS),
        Work("update", NAME, 2 * CELLS + WORDS, 0, ACTION),
    ),
}


def draw(number: int, answer: Answer | None = None) -> Ids:
    """Random ids that an answer allows, or any."""
    first, last = (answer and answer.allowed) or (3, TEXT + CODES - 1)
    return tuple(torch.randint(max(first, 3), last + 1, (number,)).tolist())


def passes(
    phase: str, weights: Any, engine: type[Continuation] = SharedPrompts
) -> list[tuple[Work, Callable[[], object]]]:
    """The passes of a phase, ready to be made; the update with its optimiser's step."""
    optimizer = OptimizerOptions().make(Policy(weights, "fwm", PICTURE).parameters(), 1e-5)
    prompt_of = torch.zeros(GROUP, dtype=torch.long)

    def ready(work: Work) -> Callable[[], object]:
        policy = Policy(weights, "fwm", work.answer, engine)
        prompts, scored = [draw(work.prompt)], [work.scored] * GROUP
        rows = [draw(work.before) + draw(work.scored, work.answer) for _ in range(GROUP)]

        def score() -> None:
            with torch.no_grad():
                policy.logprobs(prompts, prompt_of, rows, scored)

        def update() -> None:
            policy.accumulate(prompts, prompt_of, rows, scored, lambda n, its: (its.logp.sum(), None), plain=True)
            optimizer.step()

        def generate() -> None:
            policy.generate(prompts, [0], group_size=GROUP, max_tokens=work.scored, sampling=Sampling(0.7))

        return {"generation": generate, "scoring": score, "update": update}[work.kind]

    return [(work, ready(work)) for work in PHASES[phase]]


def measure(phase: str) -> dict[str, Any]:
    """Predicted and measured bytes of a phase's passes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warm_up(torch.float32)
    config = CONFIG_MAPPING["gemma"](**MODEL)
    baseline = status("VmRSS")
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", lora_dropout=0.0)
    weights = LoraWeights(model, SETS, lora)
    weights.set_trainable("fwm")
    memory = Memory(config_shape(config), 4, rank=RANK, sets=len(SETS))
    found, ready = {}, passes(phase, weights)
    ready[-1][1]()  # gradients and moments are there from the first update on
    for work, make in ready:
        measured = peak(make) - baseline
        parts = memory.peak(work.planned, GROUP)
        found[work.kind] = {
            "predicted": round(parts.total), "measured": measured, "error": round(parts.total / measured - 1, 4),
            "parts": {part: round(value) for part, value in asdict(parts).items()},
        }  # fmt: skip
    return {"phase": phase, "parameters": sum(p.numel() for p in model.parameters()), "passes": found}


def table(content: dict[str, Any]) -> str:
    """Predicted over measured, and the largest peak."""
    lines = ["| phase | generation | scoring | update | peak |", "| --- | --- | --- | --- | --- |"]
    for case in content["phases"]:
        found = case["passes"].values()
        ratios = " | ".join(f"{its['predicted'] / its['measured']:.2f}" for its in found)
        largest = max(its["measured"] for its in found) / 2**30
        lines.append(f"| {case['phase'].upper()} | {ratios} | {largest:.1f} GiB |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Both phases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--phase", choices=PHASES, help="measure this one alone, and print it")
    options = parser.parse_args()
    if options.phase:
        print(json.dumps(measure(options.phase)))
        return
    versions = {package: version(package) for package in PACKAGES} | {"python": platform.python_version()}
    content: dict[str, Any] = {"command": shlex.join(["python", *sys.argv]), "versions": versions, "machine": machine()}
    content["model"] = MODEL
    content["phases"] = [alone(__file__, "--phase", phase) for phase in PHASES]
    if options.out:
        results_file.write(options.out, content, depth=2)
    print(table(content))


if __name__ == "__main__":
    main()
