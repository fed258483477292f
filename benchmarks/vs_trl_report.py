"""From what the two sides of benchmarks/vs_trl.py report to the numbers of its table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from vs_trl_work import Loaded, Sizes, Update, Work

MIB = 2**20
CHECKED = ("rewards", "loss", "gradient")


def compare(ours: Update, trl: Update) -> dict[str, Any]:
    """Relative differences on the same completions: of rewards, less their mean, loss and gradient as vectors."""
    names = sorted(ours.gradient)
    assert names == sorted(trl.gradient), "the two sides train different adapters"
    vectors = [np.concatenate([update.gradient[name].ravel() for name in names]) for update in (ours, trl)]
    return {
        "rewards": relative(*(np.array(update.rewards) - np.mean(update.rewards) for update in (ours, trl))),
        "loss": relative(np.array([ours.loss]), np.array([trl.loss])),
        "gradient": relative(*vectors),
        "trl": {
            "loss": trl.loss,
            "gradient_norm": float(np.linalg.norm(vectors[1])),
            "parameters": len(vectors[1]),
        },
    }


def relative(x: np.ndarray, y: np.ndarray) -> float:
    """Distance of x from y as a share of y's norm."""
    return float(np.linalg.norm(x - y) / np.linalg.norm(y))


def summary(work: Work, loaded: Loaded, updates: Sequence[Update]) -> dict[str, Any]:
    """Medians over the timed updates, and the least time that their multiply-adds take."""
    parts = {part: statistics.median(u.seconds[part] for u in updates) for part in updates[0].seconds}
    totals = [sum(u.seconds.values()) for u in updates]
    tokens = statistics.mean(u.tokens for u in updates)
    groups = len(work.updates[1])
    distinct = statistics.mean(u.distinct for u in updates) / groups
    length = tokens / (groups * work.group_size)
    return {
        "seconds": statistics.median(totals),
        "seconds_by_part": parts,
        "seconds_of_all": totals,
        "tokens": tokens,
        "tokens_per_second": tokens / statistics.median(totals),
        "distinct_share": distinct / work.group_size,
        "peak_memory_mib": updates[-1].memory / MIB,
        "loaded_memory_mib": loaded.memory / MIB,
        "multiply_adds": multiply_adds(work, loaded.sizes, distinct, length),
    }


def multiply_adds(work: Work, sizes: Sizes, rows: float, length: float) -> float:
    """Those of an average update in which every prompt passes through the model once for each purpose.

    The purposes are sampling, reference, policy (twice: forward, and backward to the adapters) and scorer.

    Args:
        work: its updates.
        sizes: of the model.
        rows: distinct completions of a group.
        length: tokens of a completion.
    """

    def text(shared: float, each: float, scored: float) -> float:
        seen = shared * shared / 2 + rows * each * (shared + each / 2)
        return sizes.trunk * (shared + rows * each) + sizes.head * rows * scored + sizes.attention * seen

    total = 0.0
    groups = [group for update in work.updates[1:] for group in update]
    for group in groups:
        total += 4 * text(len(group.prompt), length, length)
        total += text(len(group.head), length + len(group.after) + len(group.target), len(group.target))
    return total / len(work.updates[1:])


def multiply_add_rate(gpu: bool) -> float:
    """Multiply-adds per second of a large matrix product."""
    size, device, dtype = (8192, "cuda", torch.bfloat16) if gpu else (2048, "cpu", torch.float32)
    x = torch.ones(size, size, device=device, dtype=dtype)
    seconds = []
    for _ in range(7):
        started = time.perf_counter()
        float((x @ x)[0, 0])
        seconds.append(time.perf_counter() - started)
    return size**3 / min(seconds)


def judged(
    about: dict[str, Any], targets: dict[str, Any], work: Work, found: dict[str, Any], rate: float
) -> dict[str, Any]:
    """A point of the table: what was measured, against its targets.

    Args:
        about: the point.
        targets: the least ``speedup`` and the largest ``memory_ratio``, which may be None.
        work: what was done.
        found: what was measured of ``ours`` and ``trl``.
        rate: multiply-adds per second.

    Raises:
        RuntimeError: a side did not do its work.
    """
    ours, trl = found["ours"], found["trl"]
    expected = len(work.updates[1]) * work.group_size * work.max_tokens
    for name, side in (("ours", ours), ("trl", trl)):
        if work.eos < 0 and side["tokens"] != expected:
            raise RuntimeError(f"{name} sampled {side['tokens']} tokens an update, expected {expected}")
    speedup, memory = trl["seconds"] / ours["seconds"], ours["peak_memory_mib"] / trl["peak_memory_mib"]
    above = [side["peak_memory_mib"] - side["loaded_memory_mib"] for side in (ours, trl)]
    floor = ours["multiply_adds"] / rate
    return {
        "point": about,
        "speedup": speedup,
        "memory_ratio": memory,
        "memory_ratio_above_model": above[0] / above[1],
        "targets": targets,
        "met": speedup >= targets["speedup"] and (targets["memory_ratio"] is None or memory <= targets["memory_ratio"]),
        "floor_seconds": floor,
        "times_the_floor": ours["seconds"] / floor,
        "trl_micro_batch": work.micro_batch,
        **found,
    }


def overall(points: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The worst point's speed-up and the worst point's share of memory."""
    return {
        "speedup": min(point["speedup"] for point in points),
        "memory_ratio": max(point["memory_ratio"] for point in points),
    }


def check_failures(checks: Sequence[dict[str, Any]], tolerance: float) -> list[str]:
    """What the two sides disagree on."""
    return [
        f"point {i}: {key} differs by {check[key]:.1e} of TRL's, expected at most {tolerance:.0e}"
        for i, check in enumerate(checks)
        for key in CHECKED
        if not check[key] <= tolerance
    ]
