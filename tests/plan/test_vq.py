"""What a VQ network takes of memory, and that a plan says so."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from picture_models import SIDE, VQGAN, vqgan
from transformers import ChameleonVQVAEConfig

from swirl_lightning.engine import MicroBatchSizes
from swirl_lightning.models import LiquidLM
from swirl_lightning.models.vqgan import Vqgan
from swirl_lightning.plan.page import Plan
from swirl_lightning.plan.passes import Pass
from swirl_lightning.plan.shapes import KNOWN
from swirl_lightning.plan.vq import VqMemory, most_held

WORK = {"evaluation": [Pass("generation", "draw", 2, 1, 64, 16), Pass("scoring", "score", 2, 1, 64, 16)]}


def test_tensors_are_counted_until_they_are_freed():
    """By hand: of three results of 4,000 bytes two are held together; a view takes nothing."""
    x = torch.zeros(1000)

    def run():
        y = x + 1
        z = y.view(10, 100) * 2
        del y
        return z + 1

    assert most_held(run) == 8000


def test_a_network_without_numbers_takes_what_it_takes_with_them():
    network = vqgan()
    found = VqMemory.of(lambda: Vqgan(ChameleonVQVAEConfig(**VQGAN)), SIDE)
    assert found.weights == 4 * sum(p.numel() for p in network.parameters())
    with torch.no_grad():
        x = torch.rand(1, 3, SIDE, SIDE)
        codes = network.codes(x)
        real = max(most_held(lambda: network.codes(x)), most_held(lambda: network.picture(codes)))
    assert found.passing == real > 3 * SIDE * SIDE * 32 * 4


def test_a_plan_for_liquid_before_anything_is_there():
    """The released VQGAN's 69 million weights in float32, beside a Gemma of 8.56 billion."""
    base = LiquidLM("Junfeng5/Liquid_V1_7B", vq="vqgan.ckpt", quantize="nf4", dtype="bfloat16")
    assert KNOWN[base.name].parameters == 8_537_680_896 + 8192 * 3072  # Gemma 7B's, and the codes'
    memory = base.memory(torch.device("cuda"), sets=3, moments=2)
    vq = memory.vq
    assert 0.2 < vq.weights / 2**30 < 0.3
    assert 0.5 < vq.passing / 2**30 < 2  # of pictures of 512 pixels, with 128 channels at their full size
    page = Plan(memory, WORK, "auto", 24 * 2**30).page()
    assert f"pictures of 512 x 512 pixels: the VQ network takes {vq.weights / 2**30:.2f} GiB" in page
    without = replace(memory, vq=None)
    assert memory.resident().total - without.resident().total == vq.weights
    huge = replace(memory, vq=VqMemory(0.0, 2.0**34, 512))
    draw, score = WORK["evaluation"]
    assert huge.peak(draw, 1).total > 2**34 > huge.peak(score, 1).total
    assert Plan(huge, WORK, "auto", 8 * 2**30).chosen is None
    assert Plan(without, WORK, "auto", 24 * 2**30).chosen == MicroBatchSizes(None, None, None)
