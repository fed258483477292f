"""One part of benchmarks/gpu_day.py: ``swirl fit`` with random weights of the true shape, its peaks beside the plan.

The model is a folder in the Hugging Face layout with random weights, loaded and quantised as any other. As it hardly
ever draws the end token, completions have the full length that the configuration allows; so do the prompts.
"""

from __future__ import annotations

import gc
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from transformers import AutoModelForCausalLM, Qwen2Config

from swirl_lightning.commands import main
from swirl_lightning.commands.plan import add_options
from swirl_lightning.models import ScratchLM
from swirl_lightning.modules import swirl
from swirl_lightning.plan.shapes import Shape, shape_of
from swirl_lightning.plan.sizes import available_bytes, parse_bytes

ROOT = Path(__file__).parents[1]
TINY = Shape(512, 64, 128, 2, 4, 2, 16, qkv_bias=True)
STAGES = {
    "trainer.warmup": [{"phase": "sft", "updates": 1, "batch_size": 4}],
    "trainer.iteration": [{"phase": "vim", "updates": 1}, {"phase": "elbo", "updates": 1}],
    "trainer.iterations": 1,
}
SMALL = {
    "model.max_tokens": 256,
    "model.optimizer.name": "adamw_8bit",  # the paged one needs a GPU
    "model.fwm.init_args.max_new_tokens": 8,
    "model.fwm.init_args.grpo.group_size": 2,
    "model.idm.init_args.max_new_tokens": 8,
    "model.idm.init_args.grpo.group_size": 2,
    "data.init_args.batch_size": 2,
    "data.init_args.eval_batch_size": 2,
    "trainer.accelerator": "cpu",
}
"""What makes of any configuration one for a dry run on a processor."""
EPISODES, STEPS, MARGIN = 8, 4, 160


@dataclass
class Peaks:
    """The most bytes held in each stage, by its updates and by the evaluation after them.

    Args:
        held: by the name of the stage.
    """

    held: dict[str, dict[str, int]] = field(default_factory=dict)

    def note(self, stage: str, what: str) -> None:
        """Keep the peak since the last note, if it is the highest of its kind."""
        its = self.held.setdefault(stage, {})
        its[what] = max(its.get(what, 0), peak_bytes())
        reset_peak()


class PeakRecorder(L.Callback):
    """Notes peaks. Callbacks are made by the command, so the notes lie with the class."""

    peaks = Peaks()

    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        """What evaluation before the stage held is no matter of the update."""
        reset_peak()
        self._stage = trainer.fit_loop.current.name

    def on_train_batch_end(self, *args: Any) -> None:
        """After an update."""
        self.peaks.note(self._stage, "update")

    def on_train_epoch_end(self, *args: Any) -> None:
        """After the evaluation of a stage."""
        self.peaks.note(self._stage, "evaluation")


def fit_part(config: str, dry_run: bool, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Train one update of every phase.

    Args:
        config: the name of a file in configs/.
        dry_run: take a tiny shape and a processor.
        more: further options.

    Returns:
        Seconds; for each stage the peak that was measured and the one that was planned, in bytes, with their ratio.

    Raises:
        RuntimeError: the command failed, or did not make every update.
    """
    path = ROOT / "configs" / f"{config}.yaml"
    read = yaml.safe_load(path.read_text(encoding="utf-8"))
    options = STAGES | (SMALL if dry_run else {}) | dict(more or {})
    room = f"{12 if '12gb' in config else 24}GiB"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shape = TINY if dry_run else known_shape(read["model"]["base"]["init_args"]["name"])
        completion = options.get(
            "model.fwm.init_args.max_new_tokens", read["model"]["fwm"]["init_args"]["max_new_tokens"]
        )
        prompt = options.get("model.max_tokens", read["model"]["max_tokens"]) - completion - MARGIN
        write_model(folder / "model", shape, write_log(folder / "log.jsonl", prompt))
        args = arguments(path, folder, read, options)
        return {
            "config": config, "options": {key: value for key, value in options.items() if key not in STAGES},
            **measured(args, folder, room, dry_run),
        }  # fmt: skip


def measured(args: list[str], folder: Path, room: str, dry_run: bool) -> dict[str, Any]:
    """Train one update of every phase, as ``STAGES`` says, and compare peaks with the plan.

    Args:
        args: options of ``swirl fit``, whose runs are in ``folder / "runs"``.
        folder: of the part.
        room: memory that is planned with.
        dry_run: on a processor.

    Raises:
        RuntimeError: the command failed, or did not make every update.
    """
    planned = plan(args, room, dry_run)
    if not dry_run:  # a larger card would be planned with otherwise
        swirl.available_bytes = lambda device: min(available_bytes(device), parse_bytes(room))  # type: ignore[attr-defined]
    PeakRecorder.peaks.held.clear()
    started = time.perf_counter()
    code = main(["fit", *args, f"--trainer.callbacks+={PeakRecorder.__module__}.PeakRecorder"])
    seconds = time.perf_counter() - started
    if code:
        raise RuntimeError(f"swirl fit ended with {code}")
    results = json.loads(next((folder / "runs").glob("version_*/results.json")).read_text())
    stages = {stage["stage"]: stage for stage in results["stages"]}
    if sum(stage["updates"] for stage in stages.values()) != 3:
        raise RuntimeError(f"expected an update of three phases, found {list(stages)}")
    return {
        "seconds": seconds,
        "room": room,
        "stages": {
            name: {"seconds": stages[name]["seconds"], "tokens": stages[name]["tokens"]}
            | compared(held, planned, stages[name]["phase"], dry_run)
            for name, held in PeakRecorder.peaks.held.items()
        },
    }


def compared(held: Mapping[str, int], planned: Mapping[str, float], phase: str, dry_run: bool) -> dict[str, Any]:
    """Peaks of a stage beside the plan's; on a processor the process itself is most of the former."""
    found: dict[str, Any] = {}
    for what, its in held.items():
        expected = planned[phase if what == "update" else "evaluation"]
        found[what] = {"measured": its, "planned": round(expected), "error": None if dry_run else expected / its - 1}
    return found


def arguments(path: Path, folder: Path, read: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:
    """The options of ``swirl fit``: the configuration with another model, another log and few updates."""
    data = read["data"]["init_args"]
    sizes = {key: data[key] for key in ("batch_size", "eval_batch_size")}
    given = (
        {f"data.init_args.{key}": value for key, value in sizes.items()} | {"data.init_args.eval_limit": 2} | options
    )
    return [
        f"--config={path}", "--data=swirl_lightning.environments.log.LogDataModule",
        f"--data.init_args.path={folder / 'log.jsonl'}", f"--trainer.default_root_dir={folder / 'runs'}",
        f"--model.base.init_args.name={folder / 'model'}",
        *(f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in given.items()),
    ]  # fmt: skip


def plan(args: list[str], room: str, dry_run: bool) -> dict[str, float]:
    """The planned peak of each phase, in bytes, and that of evaluation."""
    from swirl_lightning.commands.planned_run import PlannedRun

    run = PlannedRun(args if dry_run else [*args, f"--gpu_memory={room}"], add_options)
    trainer, data = run.config.trainer, run.config.data.init_args
    device = torch.device("cpu" if dry_run else "cuda")
    bytes_free = available_bytes(device) if dry_run else parse_bytes(room)
    made = run.model.plan(
        [*trainer.warmup, *trainer.iteration], data.batch_size, data.eval_batch_size, device, bytes_free
    )
    return {
        phase: max(made.memory.peak(work, made.rows(work)).total for work in works)
        for phase, works in made.passes.items()
    }


def known_shape(name: str) -> Shape:
    """The shape of a model on the hub, without the hub."""
    shape = shape_of(name)
    assert isinstance(shape, Shape), name
    return shape


def qwen2(shape: Shape, eos: int | None = None) -> Qwen2Config:
    """A configuration of Qwen2's kind."""
    return Qwen2Config(
        vocab_size=shape.vocab, hidden_size=shape.hidden, intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
        max_position_embeddings=32768, tie_word_embeddings=shape.tied, bos_token_id=None,
        eos_token_id=eos,
    )  # fmt: skip


def write_model(folder: Path, shape: Shape, tokenizer: Any) -> None:
    """A model with random weights in bfloat16, and its tokenizer."""
    config = qwen2(shape, tokenizer.eos_token_id)
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # what is free is asked of the card, and of a small one this would be a lot


def write_log(path: Path, tokens: int) -> Any:
    """A log whose states have about so many tokens. Returns the tokenizer that counts them."""
    rng = random.Random(0)
    words = [" ".join(f"item{rng.randrange(1000)} is here" for _ in range(1 + tokens // 2)) for _ in range(EPISODES)]
    tokenizer = ScratchLM(vocab_size=512).tokenizer(words, ())
    rows = []
    for n, text in enumerate(words):
        state = re.sub(r"\n", " ", tokenizer.decode(tokenizer(text)["input_ids"][: tokens - 8 * STEPS]))
        for step in range(STEPS):
            next_state = f"{state}\nadded {step}"
            rows.append(
                {"episode": f"e{n}", "step": step, "state": state, "next_state": next_state, "action": f"add {step}"}
            )
            state = next_state
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tokenizer


def peak_bytes() -> int:
    """The most bytes held since the last reset: on the GPU, or of main memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def reset_peak() -> None:
    """Count anew."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")
