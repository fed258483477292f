"""Metrics of pictures against values computed by hand and the definitions."""

import math

import numpy as np
import pytest

from swirl_lightning.codecs.tiles import Tiles
from swirl_lightning.metrics.pictures import MOST_DB, picture_metrics
from swirl_lightning.pictures import know, place_picture, write_codes
from swirl_lightning.types import Prediction, Transition

RNG = np.random.default_rng(0)
STATE = RNG.integers(0, 256, (16, 24, 3), np.uint8)  # 2 x 3 cells of 8 pixels


def changed(*cells, by=40):
    picture = STATE.copy()
    for r, c in cells:
        picture[8 * r, 8 * c] = (picture[8 * r, 8 * c].astype(int) + by) % 256
    return picture


@pytest.fixture
def score(tmp_path):
    """The value of each metric for one true and one predicted picture; None is malformed."""

    def compute(true, said):
        names = [place_picture(tmp_path, picture) for picture in (STATE, true)]
        prediction = Prediction("", None if said is None else place_picture(tmp_path, said))
        values = {}
        for name, metric in picture_metrics(8).items():
            metric.update([Transition("e", 0, *names, "go")], [prediction])
            values[name] = float(metric.compute())
        return values

    return compute


def test_the_true_picture(score):
    assert score(changed((0, 0)), changed((0, 0))) == {
        "fwm_exact_cells": 1, "fwm_changed_cells": 1, "fwm_psnr": MOST_DB, "fwm_ssim": pytest.approx(1, abs=1e-5)
    }  # fmt: skip


def test_a_copy_earns_nothing_for_changes(score):
    values = score(changed((0, 0), (1, 2)), STATE)
    assert values["fwm_exact_cells"] == pytest.approx(4 / 6)
    assert values["fwm_changed_cells"] == 0


def test_some_cells_right(score):
    """Two cells change; one of them is right, one is missed, and one is made up."""
    true, said = changed((0, 0), (1, 2)), changed((0, 0), (0, 1))
    values = score(true, said)
    assert values["fwm_exact_cells"] == pytest.approx(4 / 6)
    assert values["fwm_changed_cells"] == pytest.approx(2 * 1 / 4)
    error = ((true.astype(float) - said) ** 2).mean()
    assert values["fwm_psnr"] == pytest.approx(10 * math.log10(255**2 / error), abs=1e-3)
    assert 0.5 < values["fwm_ssim"] < 1


def test_a_changed_cell_that_is_made_something_else_of(score):
    assert score(changed((0, 0)), changed((0, 0), by=80))["fwm_changed_cells"] == 0


def test_malformed_scores_lowest(score):
    assert set(score(changed((0, 0)), None).values()) == {0.0}


def test_nothing_changes(score):
    assert score(STATE, STATE)["fwm_changed_cells"] == 1
    assert score(STATE, changed((1, 1)))["fwm_changed_cells"] == 0


def test_pictures_smaller_than_the_window_of_ssim_are_left_out(tmp_path):
    names = [place_picture(tmp_path, STATE[:8])] * 2
    for said in (names[0], None):
        metric = picture_metrics()["fwm_ssim"]
        metric.update([Transition("e", 0, *names, "go")], [Prediction("", said)])
        assert math.isnan(float(metric.compute()))


@pytest.mark.parametrize("cell", [4, 8])
def test_cells_are_those_of_the_codes_that_a_model_writes(tmp_path, cell):
    """What a log's pictures are drawn from is known to the model alone."""
    codebook = Tiles.of([STATE, changed((0, 0))], cell, 64)
    know(codebook)
    said = write_codes(codebook, codebook.encode(changed((0, 0))))
    names = [place_picture(tmp_path, picture) for picture in (STATE, changed((0, 0), (1, 2)))]
    for name, expected in (("exact_cells", 1 - 1 / (STATE[..., 0].size / cell**2)), ("changed_cells", 2 / 3)):
        metric = picture_metrics()[f"fwm_{name}"]
        metric.update([Transition("e", 0, *names, "go")], [Prediction("", said)])
        assert float(metric.compute()) == pytest.approx(expected)


def test_without_codes_and_without_a_size_no_cells_are_counted(tmp_path):
    names = [place_picture(tmp_path, picture) for picture in (STATE, changed((0, 0)))]
    for name in ("exact_cells", "changed_cells"):
        metric = picture_metrics()[f"fwm_{name}"]
        metric.update([Transition("e", 0, *names, "go")], [Prediction("", names[1])])
        assert int(metric.count) == 0
