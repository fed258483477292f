"""Real pairs of pictures through each family, tiny: from the published folder to a report and an exported adapter."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import picture_pairs
from picture_models import KINDS, SIDE

AURORA = Path(__file__).parents[3] / "shared/data/aurora-bench"
TASKS = ("magicbrush", "kubric")  # the first has pairs of unequal size


@pytest.mark.skipif(not AURORA.is_dir(), reason="AURORA-Bench is not here")
@pytest.mark.parametrize("kind", KINDS)
def test_real_pairs_from_end_to_end(kind, tmp_path):
    found = picture_pairs.run_pairs(kind, SIDE, AURORA, tmp_path, rows=1, tasks=TASKS)
    assert found["pairs"] == dict.fromkeys(TASKS, 6)
    assert list(found["stages"]) == ["warmup", "vim-1", "elbo-1"]
    assert found["codes"]["a picture"] == 16 + 4 * (kind == "emu3")
    assert found["predicted"] == 1
    clip = ("target", "source", "nearer", "direction", "text")  # it has no captions of what was there before
    assert set(found["metrics"]) == {"fwm_psnr", "fwm_ssim", *(f"fwm_clip_{measure}" for measure in clip)}
    assert 3 < found["metrics"]["fwm_psnr"] < 40
    assert found["report"]["pictures"] >= 3
    assert max(found["difference after export"].values()) < 1e-5
