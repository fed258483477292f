import math

import pytest
import torch

from swirl_lightning.metrics import MeanLogProb


def test_sequences_weigh_the_same_whatever_their_length():
    metric = MeanLogProb()
    metric.update(
        torch.tensor([[-1.0, -3.0, -8.0], [-5.0, 0.0, 0.0]]), torch.tensor([[True] * 3, [True, False, False]])
    )
    metric.update(torch.tensor([[-9.0]]), torch.tensor([[True]]))
    assert metric.compute() == (-4 - 5 - 9) / 3


def test_matches_naive_loops_in_low_precision_and_ignores_what_is_masked():
    generator = torch.Generator().manual_seed(0)
    logp_NT = -4 * torch.rand(50, 7, generator=generator).bfloat16()
    mask_NT = torch.rand(50, 7, generator=generator) < 0.5
    mask_NT[:, 3] = True
    rows = [[p for p, m in zip(*row, strict=True) if m] for row in zip(logp_NT.tolist(), mask_NT.tolist(), strict=True)]
    want = math.fsum(math.fsum(row) / len(row) for row in rows) / len(rows)
    metric = MeanLogProb()
    metric.update(logp_NT.masked_fill(~mask_NT, -math.inf), mask_NT)
    assert metric.compute().item() == pytest.approx(want, rel=1e-12)


def test_a_prediction_that_excludes_the_truth_shows():
    metric = MeanLogProb()
    metric.update(torch.tensor([[-math.inf, -1.0]]), torch.ones(1, 2))
    assert metric.compute() == -math.inf


@pytest.mark.parametrize("shape", [(3, 2), (2, 4), (2,)])
def test_shapes_must_agree(shape):
    with pytest.raises(ValueError, match=r"expected two \[N, T\] tensors; got \[2, 3\] and"):
        MeanLogProb().update(torch.zeros(2, 3), torch.ones(shape, dtype=torch.bool))


def test_a_sequence_without_a_token_is_refused():
    with pytest.raises(ValueError, match="sequence 1 of 2 has no token"):
        MeanLogProb().update(torch.zeros(2, 3), torch.tensor([[True] * 3, [False] * 3]))


def test_no_gradient_is_kept():
    metric = MeanLogProb()
    metric.update(torch.zeros(1, 1, requires_grad=True), torch.ones(1, 1))
    assert not metric.total.requires_grad
