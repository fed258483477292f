"""What a learned codebook keeps of pictures that it was not learned from: k-means of patches against a network.

    python benchmarks/codebooks.py worlds/minigrid --cell 8 --codes 16 64
    python benchmarks/codebooks.py worlds/crafter --cell 7 --codes 32 64 --out results.json

The folder is one of ``swirl collect``. Both learn from the pictures of its training splits, and are measured on those
of its test split: PSNR of all pixels together, share of cells that are exact, seconds of CPU to learn, and codes that
change from a state to the next, beside the cells that truly change. One row is written for each codebook.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results_file import write

from swirl_lightning.codecs.patches import learn_patches
from swirl_lightning.codecs.tiles import cut
from swirl_lightning.environments.collection import read_collection
from swirl_lightning.models.patch_network import learn_network
from swirl_lightning.pictures import Codebook, pixels, psnr
from swirl_lightning.types import Transition

LEARN = {"patches": learn_patches, "network": learn_network}


def measure(codebook: Codebook, transitions: Sequence[Transition]) -> dict[str, float]:
    """What a codebook leaves of some transitions' pictures, and how many codes change in a step."""
    true = {name: pixels(name) for t in transitions for name in (t.state, t.next_state)}
    codes = {name: codebook.encode(picture) for name, picture in true.items()}
    kept = {name: codebook.decode(its) for name, its in codes.items()}
    cells = {name: cut(picture, codebook.cell) for name, picture in true.items()}
    exact = [(cut(kept[name], codebook.cell) == its).all((2, 3, 4)).mean() for name, its in cells.items()]
    steps = [(t.state, t.next_state) for t in transitions]
    return {
        "psnr": psnr(list(kept.values()), list(true.values())),
        "exact_cells": float(np.mean(exact)),
        "changed_codes": float(np.mean([(codes[a] != codes[b]).sum() for a, b in steps])),
        "changed_cells": float(np.mean([(cells[a] != cells[b]).any((2, 3, 4)).sum() for a, b in steps])),
    }


def main(args: Sequence[str] | None = None) -> dict[str, Any]:
    """Print a row for each codebook as soon as it is measured, and return all by their names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cell", type=int, required=True)
    parser.add_argument("--codes", type=int, nargs="+", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(args)
    torch.set_num_threads(1)
    parts = read_collection(options.folder)
    names = {name: None for s in ("labelled", "state_only") for t in parts[s] for name in (t.state, t.next_state)}
    pictures = [pixels(name) for name in names]
    results: dict[str, Any] = {}
    for size in options.codes:
        for name, learn in LEARN.items():
            start = time.process_time()
            codebook = learn(pictures, options.cell, size, options.seed)
            seconds = time.process_time() - start
            found = {"seconds": seconds, **measure(codebook, parts["test"])}
            results[f"{options.folder.name} {name} {size}"] = found
            print(name, size, *(f"{key} {value:.4g}" for key, value in found.items()), flush=True)
    if options.out:
        write(options.out, results)
    return results


if __name__ == "__main__":
    main()
