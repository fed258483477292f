"""What a run asks of the memory, pass by pass, and how many rows may pass together."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from swirl_lightning.engine import MicroBatchSizes
from swirl_lightning.engine.micro_batches import ALL_AT_ONCE
from swirl_lightning.models.optimizers import MOMENTS
from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.plan.memory import Memory
from swirl_lightning.plan.passes import Kind, Pass, largest
from swirl_lightning.types import Phase, Stage

if TYPE_CHECKING:
    from swirl_lightning.modules.swirl import SWIRL

SHARE = 0.9
"""Of the memory that a plan may fill."""
KINDS: tuple[Kind, ...] = ("generation", "scoring", "update")
log = logging.getLogger(__name__)


def memory_of(module: SWIRL, device: torch.device) -> Memory:
    """The run's model, its weight sets and its optimiser; nothing is loaded."""
    sets = 2 if module.shared_weights else 3
    return module.base.memory(device, sets=sets, moments=MOMENTS[module.optimizer])


def planned(module: SWIRL, stages: Sequence[Stage], batch_size: int, eval_batch_size: int) -> dict[str, list[Pass]]:
    """The passes of each phase and of evaluation, at the longest that ``max_tokens`` and ``max_new_tokens`` allow.

    Args:
        module: the run's module; it need not be set up.
        stages: the schedule.
        batch_size: transitions per update, where a stage does not say otherwise.
        eval_batch_size: transitions per batch of evaluation.
    """
    batches: dict[Phase, int] = {}
    for stage in stages:
        batches[stage.phase] = max(batches.get(stage.phase, 0), stage.batch_size or batch_size)
    result: dict[str, list[Pass]] = {phase: _phase(module, phase, batch) for phase, batch in batches.items()}
    result["evaluation"] = _evaluation(module, eval_batch_size)
    if module.engine == "plain":  # nothing is shared
        return {
            name: [replace(work, groups=work.rows, group_size=1) for work in group] for name, group in result.items()
        }
    return result


def choose(memory: Memory, passes: Sequence[Pass], room: float) -> MicroBatchSizes | None:
    """As many rows at a time as fit into ``room`` bytes; None where one row does not. All of them is None."""
    sizes: dict[str, int | None] = {}
    for kind in KINDS:
        works = [work for work in passes if work.kind == kind]
        most = max((work.rows for work in works), default=1)

        def fits(rows: int, works: Sequence[Pass] = works) -> bool:
            return all(memory.peak(work, rows).total <= room for work in works)

        found = largest(fits, most)
        if not found:
            return None
        sizes[kind] = None if found == most else found
    return MicroBatchSizes(**sizes)


def micro_batch_sizes(module: SWIRL, trainer: Any, *, fitting: bool) -> MicroBatchSizes:
    """What ``model.micro_batch`` comes to on the trainer's device, asked before the model is loaded."""
    if module.micro_batch != "auto":
        return MicroBatchSizes(*(module.micro_batch,) * len(KINDS))
    data, device = trainer.datamodule, trainer.strategy.root_device
    stages = [named.stage for named in trainer.fit_loop.schedule] if fitting else []
    works = planned(module, stages, data.batch_size, data.eval_batch_size)
    room = SHARE * available_bytes(device) / (1 if device.type == "cuda" else trainer.world_size)
    sizes = choose(memory_of(module, device), [work for group in works.values() for work in group], room)
    if sizes is None:
        log.warning("a single row may not fit into the %.1f GiB that are free: see swirl plan", room / 2**30)
        return MicroBatchSizes(*(1,) * len(KINDS))
    if sizes != ALL_AT_ONCE:
        log.info("micro-batches: %s", ", ".join(f"{k} {n or 'all'}" for k, n in sizes._asdict().items()))
    return sizes


def available_bytes(device: torch.device) -> int:
    """Memory of a device that nothing holds yet."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # not Linux
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return int(min(free, _container_limit()))


def _container_limit() -> float:
    """What the control group of this process may still take."""
    folder = Path("/sys/fs/cgroup")
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            return int((folder / limit).read_text()) - int((folder / used).read_text())
        except (OSError, ValueError):  # no such group, or no limit
            continue
    return float("inf")


def _phase(module: SWIRL, phase: Phase, batch: int) -> list[Pass]:
    fwm, idm = module.fwm, module.idm
    if phase == "pretrain":
        return [Pass("update", "language modelling", batch, 1, 1, module.max_tokens - 1)]
    if phase == "sft":
        return [replace(_supervised(module, role, batch), learners=2) for role in (fwm, idm)]
    if phase == "bootstrap":
        return [_latent(module, batch), _supervised(module, fwm, batch)]
    if phase == "vim":
        more = [_supervised(module, fwm, batch)] if fwm.anchor or module.bootstrap else []
        return [_latent(module, batch), *_grpo(module, fwm, idm, batch), *more]
    return [*_grpo(module, idm, fwm, batch), *([_supervised(module, idm, batch)] if idm.anchor else [])]


def _grpo(module: SWIRL, learner: GRPOMixin, scorer: GRPOMixin, batch: int) -> list[Pass]:
    whole = Pass(
        "generation", f"{learner.role} samples", batch, learner.group_size, module.max_tokens, learner.max_new_tokens,
        truncated=learner.sampling.truncated,
    )  # fmt: skip
    asked = replace(
        whole, kind="scoring", name=f"{scorer.role} rewards", row=whole.row + scorer.max_new_tokens, exact=True
    )  # fmt: skip
    compared = replace(whole, kind="scoring", name="reference")
    twice = learner.beta or learner.inner_steps > 1
    update = replace(whole, kind="update", name=f"{learner.role} learns")
    return [whole, asked, *([compared] if twice else []), update]


def _latent(module: SWIRL, batch: int) -> Pass:
    sampled = module.latent == "sample" and module.idm.sampling.truncated
    return Pass(
        "generation", "latent actions", batch, 1, module.max_tokens, module.idm.max_new_tokens, truncated=sampled
    )  # fmt: skip


def _supervised(module: SWIRL, role: GRPOMixin, batch: int) -> Pass:
    row = min(role.max_new_tokens, module.max_tokens - 1)
    return Pass("update", f"{role.role} on labels", batch, 1, module.max_tokens - row, row)


def _evaluation(module: SWIRL, batch: int) -> list[Pass]:
    passes = []
    for role in (module.fwm, module.idm):
        row = min(role.max_new_tokens, module.max_tokens - 1)
        answers = Pass("generation", f"{role.role} answers", batch, 1, module.max_tokens, role.max_new_tokens)
        targets = Pass("scoring", f"{role.role} log-probs", batch, 1, module.max_tokens - row, row)
        passes += [replace(answers, learners=2), replace(targets, learners=2)]
    return passes
