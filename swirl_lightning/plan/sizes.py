"""How much memory is free, and how many rows may pass together in it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from swirl_lightning.engine import MicroBatchSizes
from swirl_lightning.plan.memory import Memory
from swirl_lightning.plan.passes import Kind, Pass, largest
from swirl_lightning.types import InputError

KINDS: tuple[Kind, ...] = ("generation", "scoring", "update")
UNITS = {"": 2**30, "GIB": 2**30, "MIB": 2**20, "GB": 10**9, "MB": 10**6}


def choose(memory: Memory, passes: Sequence[Pass], room: float) -> MicroBatchSizes | None:
    """As many rows at a time as fit into ``room`` bytes; None where one row does not. All of them is None.

    Where not all that a row takes is known, it is one row.
    """
    if not memory.known:
        fit = all(memory.peak(work, 1).total <= room for work in passes)
        return MicroBatchSizes(1, 1, 1) if fit else None
    sizes: dict[str, int | None] = {}
    for kind in KINDS:
        works = [work for work in passes if work.kind == kind]
        most = max((work.most for work in works), default=1)

        def fits(rows: int, works: Sequence[Pass] = works) -> bool:
            return all(memory.peak(work, rows).total <= room for work in works)

        found = largest(fits, most)
        if not found:
            return None
        sizes[kind] = None if found == most else found
    return MicroBatchSizes(**sizes)


def device_and_room(accelerator: str, gpu_memory: str | None = None) -> tuple[torch.device, int]:
    """Where a run would compute, and the bytes that nothing holds there yet.

    Args:
        accelerator: Lightning's name of it.
        gpu_memory: of a GPU that need not be there; None asks this machine.

    Raises:
        InputError: a GPU is meant that is not there, or the size is not one.
    """
    here = torch.cuda.is_available() and accelerator != "cpu"
    if gpu_memory is None and not here and accelerator not in ("auto", "cpu"):
        raise InputError(f"trainer.accelerator: {accelerator}, and this machine has none: give --gpu_memory 24GiB")
    device = torch.device("cuda" if here or gpu_memory else "cpu")
    return device, parse_bytes(gpu_memory) if gpu_memory else available_bytes(device)


def parse_bytes(text: str) -> int:
    """Bytes of ``24GiB``, ``24GB``, ``800MiB``; a bare number is in GiB.

    Raises:
        InputError: the text is none of these.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if not found or found[2].upper() not in UNITS:
        raise InputError(f"--gpu_memory: found {text!r}, expected a size such as 24GiB, 24GB or 800MiB")
    return int(float(found[1]) * UNITS[found[2].upper()])


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
