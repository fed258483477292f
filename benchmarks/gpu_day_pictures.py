"""One part of benchmarks/gpu_day.py: updates of Liquid's shape on pictures of 1,024 codes, with random weights."""

from __future__ import annotations

import gc
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from gpu_day_fit import ROOT, SMALL, STAGES, arguments, measured
from picture_models import CELL, SIDE, write_liquid

from swirl_lightning.models.vq import VqCodebook, read_vqgan
from swirl_lightning.pictures import write_image

EPISODES, ROOM = 40, "24GiB"


def pictures_part(dry_run: bool) -> dict[str, Any]:
    """An update of every phase, as configs/aurora.yaml has it.

    Args:
        dry_run: take a tiny shape, small pictures and a processor.

    Returns:
        Peaks beside the plan's for 24 GiB, as other parts; codes of a picture; seconds of the VQ network for one.
    """
    side = SIDE if dry_run else 512
    codes = (side // (CELL if dry_run else 16)) ** 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = write_liquid(folder, tiny=dry_run)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # what is free is asked of the card
        write_pictures(folder, side)
        path = ROOT / "configs" / "aurora.yaml"
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
        its = {
            "model.base.init_args.vq": options["vq"],
            "model.base.init_args.picture_size": side,
            "model.fwm.init_args.max_new_tokens": codes,
        }
        vq = seconds_of_vq(options["vq"], side, "cpu" if dry_run else "cuda")
        args = arguments(path, folder, read, STAGES | (SMALL if dry_run else {}) | its)
        return {"codes": codes, "vq": vq, **measured(args, folder, ROOM, dry_run)}


def write_pictures(folder: Path, side: int) -> None:
    """A log of episodes of one step, between two pictures of noise."""
    rng, rows = np.random.default_rng(0), []
    for n in range(EPISODES):
        names = [f"{n}-{step}.png" for step in range(2)]
        for name in names:
            write_image(folder / name, rng.integers(0, 256, (side, side, 3), np.uint8))
        rows.append(
            {"episode": f"e{n}", "step": 0, "image": names[0], "next_image": names[1], "action": f"move the cup {n}"}
        )
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def seconds_of_vq(place: str, side: int, device: str) -> dict[str, float]:
    """Seconds for one picture, after a first one."""
    codebook = VqCodebook(read_vqgan(place), "vqgan")
    codebook.to(torch.device(device))
    found: dict[str, float] = {}
    for _ in range(2):
        picture = np.random.default_rng(len(found)).integers(0, 256, (side, side, 3), np.uint8)
        started = time.perf_counter()
        codes_RC = codebook.encode(picture)
        found["encode"] = time.perf_counter() - started
        started = time.perf_counter()
        codebook.decode(codes_RC)
        found["decode"] = time.perf_counter() - started
    return found
