"""The plan of a run: the peak of every pass by part, before anything is downloaded or allocated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from swirl_lightning.engine import MicroBatchSizes
from swirl_lightning.plan.memory import Memory
from swirl_lightning.plan.passes import Parts, Pass
from swirl_lightning.plan.sizes import choose

GIB = 2**30
SHARE = 0.9
"""Of the memory that a plan may fill."""

UNKNOWN = (
    "activations and caches of this kind of model are not known before it runs: the plan holds weights and optimiser "
    "alone, and model.micro_batch auto is 1 row at a time; set more by hand as far as memory goes"
)


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
    room: float

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
        return min(getattr(self.sizes, work.kind) or work.most, work.most)

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
        least = "" if self.memory.known else "at least "
        verdict = "does not fit" if not self.fits else "fits" if self.memory.known else "weights and optimiser fit"
        lines += ["", f"peak {least}{parts.total / GIB:.2f} GiB ({work.name}): {verdict} in {room}"]
        if vq := self.memory.vq:
            lines.append(
                f"pictures of {vq.side} x {vq.side} pixels: the VQ network takes {vq.weights / GIB:.2f} GiB, which are "
                f"among those of the base, and about {vq.passing / GIB:.2f} GiB more while it passes one picture"
            )
        if not self.memory.known:
            lines.append(UNKNOWN)
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
            "model.optimizer.name adamw_8bit": replace(now, moments=2),
        }
        for change, memory in changes.items():
            if now.rank is not None and memory != now and choose(memory, self.every, SHARE * self.room):
                yield f"  --{change}"
        longest = max(work.prompt for work in self.every)
        written = max((work.row for work in self.every if work.kind == "generation"), default=1)
        for length in (int(longest * share) for share in (0.75, 0.5, 0.25)):
            shorter = [replace(work, prompt=min(work.prompt, length)) for work in self.every]
            if length > written and choose(now, shorter, SHARE * self.room):
                yield f"  --model.max_tokens {length}"
                return


def _gib(value: float) -> str:
    return f"{value / GIB:12.2f}" if value else f"{'-':>12}"
