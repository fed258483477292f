"""``swirl plan``: the peak of every pass by part, before anything is downloaded or allocated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch

from swirl_lightning.engine import MicroBatchSizes
from swirl_lightning.modules import SWIRL
from swirl_lightning.modules.planning import SHARE, available_bytes, choose, memory_of, planned
from swirl_lightning.plan.memory import Memory
from swirl_lightning.plan.passes import Parts, Pass
from swirl_lightning.types import InputError, Stage

GIB = 2**30
UNITS = {"": GIB, "GIB": GIB, "MIB": 2**20, "GB": 10**9, "MB": 10**6}


@dataclass(frozen=True)
class Plan:
    """What a run takes.

    Args:
        memory: the model and its options.
        passes: of each phase and of evaluation.
        micro_batch: rows at a time, or ``auto``.
        room: bytes of the device; a plan fills at most ``SHARE`` of them.
    """

    memory: Memory
    passes: Mapping[str, Sequence[Pass]]
    micro_batch: int | str
    room: int

    @property
    def every(self) -> list[Pass]:
        """The passes of all phases."""
        return [work for group in self.passes.values() for work in group]

    @property
    def chosen(self) -> MicroBatchSizes | None:
        """As many rows as fit, None where one does not."""
        return choose(self.memory, self.every, SHARE * self.room)

    @property
    def sizes(self) -> MicroBatchSizes:
        """What the run uses."""
        if self.micro_batch != "auto":
            return MicroBatchSizes(*(int(self.micro_batch),) * 3)
        return self.chosen or MicroBatchSizes(1, 1, 1)

    def rows(self, work: Pass) -> int:
        """Rows of a pass at a time."""
        return min(getattr(self.sizes, work.kind) or work.rows, work.rows)

    @property
    def peak(self) -> tuple[Pass, Parts]:
        """The fullest pass, and its bytes."""
        found = [(work, self.memory.peak(work, self.rows(work))) for work in self.every]
        return max(found, key=lambda pair: pair[1].total)

    @property
    def fits(self) -> bool:
        """Whether the run stays below ``SHARE`` of the device."""
        return self.peak[1].total <= SHARE * self.room

    def page(self) -> str:
        """The plan as text."""
        names = [field.name for field in fields(Parts)]
        lines = [f"{'GiB':34}{'rows':>10}" + "".join(f"{name:>12}" for name in (*names, "peak"))]
        for phase, works in self.passes.items():
            lines.append(phase)
            for work in works:
                rows = self.rows(work)
                parts = self.memory.peak(work, rows)
                values = (*(getattr(parts, name) for name in names), parts.total)
                lines.append(f"  {work.name:32}{f'{rows}/{work.rows}':>10}" + "".join(_gib(v) for v in values))
        work, parts = self.peak
        room = f"{self.room / GIB:.1f} GiB, of which {SHARE:.0%} are planned with"
        lines += [
            "",
            f"peak {parts.total / GIB:.2f} GiB ({work.name}): {'fits' if self.fits else 'does not fit'} in {room}",
        ]
        lines += self._advice()
        return "\n".join(lines)

    def _advice(self) -> Iterator[str]:
        chosen = self.chosen
        if chosen:
            rows = ", ".join(f"{kind} {size or 'all'}" for kind, size in chosen._asdict().items())
            yield f"model.micro_batch: auto chooses rows at a time: {rows}"
            return
        yield "not even one row at a time fits; what would:"
        found = list(self._remedies())
        yield from found or ["  none of the options by itself: take a smaller model.base.name, or several of these:"]
        if not found:
            yield "  model.base.quantize nf4, model.base.gradient_checkpointing true, a lower model.max_tokens"

    def _remedies(self) -> Iterator[str]:
        """Single changes with which a row fits."""
        now = self.memory
        changes = {
            "model.base.init_args.gradient_checkpointing true": replace(now, checkpointing=True),
            "model.base.init_args.quantize nf4": replace(now, quantize="nf4"),
            "model.base.init_args.adapter_dtype bfloat16": replace(now, adapter_bytes=2),
            "model.optimizer adamw_8bit": replace(now, moments=2),
        }
        for change, memory in changes.items():
            if now.rank is not None and memory != now and choose(memory, self.every, SHARE * self.room):
                yield f"  --{change}"
        longest = max(work.prompt for work in self.every)
        for share in (0.75, 0.5, 0.25):
            shorter = [replace(work, prompt=min(work.prompt, int(longest * share))) for work in self.every]
            if choose(now, shorter, SHARE * self.room):
                yield f"  --model.max_tokens {int(longest * share)}"
                return


def make_plan(
    module: SWIRL, stages: Sequence[Stage], *, batch_size: int, eval_batch_size: int, accelerator: str,
    gpu_memory: str | None = None,
) -> Plan:  # fmt: skip
    """The plan of a run.

    Args:
        module: not set up.
        stages: the schedule.
        batch_size: transitions per update.
        eval_batch_size: transitions per batch of evaluation.
        accelerator: Lightning's name of it.
        gpu_memory: of a GPU that need not be there; None asks this machine.

    Raises:
        InputError: a GPU is meant that is not there, or the size is not one.
    """
    here = torch.cuda.is_available() and accelerator != "cpu"
    if gpu_memory is None and not here and accelerator not in ("auto", "cpu"):
        raise InputError(f"trainer.accelerator: {accelerator}, and this machine has none: give --gpu_memory 24GiB")
    device = torch.device("cuda" if here or gpu_memory else "cpu")
    room = parse_bytes(gpu_memory) if gpu_memory else available_bytes(device)
    works = planned(module, stages, batch_size, eval_batch_size)
    return Plan(memory_of(module, device), works, module.micro_batch, room)


def parse_bytes(text: str) -> int:
    """Bytes of ``24GiB``, ``24GB``, ``800MiB``; a bare number is in GiB.

    Raises:
        InputError: the text is none of these.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if not found or found[2].upper() not in UNITS:
        raise InputError(f"--gpu_memory: found {text!r}, expected a size such as 24GiB, 24GB or 800MiB")
    return int(float(found[1]) * UNITS[found[2].upper()])


def _gib(value: float) -> str:
    return f"{value / GIB:12.2f}" if value else f"{'-':>12}"
