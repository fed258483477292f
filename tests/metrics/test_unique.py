import pytest
import torch

from swirl_lightning.metrics import UniqueShare


def test_counts_over_the_whole_set():
    metric = UniqueShare()
    metric.update(["take cup", "drop cup", "take cup"])
    metric.update(["take cup", ""])
    assert metric.compute() == 3 / 5
    assert metric(["a", "a"]) == 0.5  # this batch alone
    assert metric.compute() == 4 / 7
    metric.reset()
    metric.update(["take cup"])
    assert metric.compute() == 1


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_nothing_seen_is_nan():
    assert torch.isnan(UniqueShare().compute())


def test_no_two_of_many_strings_collide():
    metric = UniqueShare()
    metric.update([str(i) for i in range(50_000)] * 2)
    assert metric.compute() == 0.5
