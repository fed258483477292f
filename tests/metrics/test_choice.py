"""Accuracy of a choice, by hand."""

import math

import pytest

from swirl_lightning.metrics.choice import ChoiceAccuracy


@pytest.mark.parametrize(
    ("scores", "truth", "worth"),
    [
        ([-3.0, -1.0, -2.0], 1, 1),
        ([-3.0, -1.0, -2.0], 0, 0),
        ([0.0, 0.0, -1.0], 1, 1 / 2),  # a tie is a guess
        ([0.0, 0.0, -1.0], 2, 0),
        ([math.nan, -5.0], 1, 1),
        ([math.nan, -5.0], 0, 0),
        ([math.nan, math.nan], 0, 1 / 2),
        ([-math.inf, -math.inf, -math.inf], 2, 1 / 3),
    ],
)
def test_what_a_choice_is_worth(scores, truth, worth):
    metric = ChoiceAccuracy()
    metric.update([scores], [truth])
    assert metric.compute().item() == pytest.approx(worth)


def test_the_mean_over_samples():
    metric = ChoiceAccuracy()
    metric.update([[1.0, 0.0], [1.0, 0.0]], [0, 1])
    metric.update([[0.0, 0.0, 0.0, 0.0]], [3])
    assert metric.compute().item() == pytest.approx((1 + 0 + 1 / 4) / 3)


def test_a_right_plan_that_is_not_there():
    with pytest.raises(ValueError, match="found the right plan 2 of 2"):
        ChoiceAccuracy().update([[1.0, 0.0]], [2])
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        ChoiceAccuracy().update([[1.0], [1.0]], [0])
