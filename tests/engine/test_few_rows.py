"""The same numbers as the layer itself, and the layer itself wherever that is called for."""

import pytest
import torch
from torch import nn

from swirl_lightning.engine.few_rows import MOST_ROWS, add_low_rank, few, linear


def made(bias=False, dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Linear(24, 40, bias=bias, dtype=dtype)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 24), (3, 24), (2, 5, 24), (MOST_ROWS, 24), (MOST_ROWS + 1, 24), (0, 24)])
def test_the_same_numbers(shape, bias):
    layer, x = made(bias), torch.randn(shape)
    with torch.no_grad():
        out = linear(layer, x)
        torch.testing.assert_close(out, layer(x), atol=1e-6, rtol=1e-5)
    assert out.is_contiguous()


def called(layer):
    calls = []
    layer.register_forward_hook(lambda *args: calls.append(args))
    return calls


def test_few_rows_go_around_the_layer_and_others_through_it():
    layer = made()
    calls = called(layer)
    with torch.no_grad():
        linear(layer, torch.randn(8, 24))
        assert not calls
        linear(layer, torch.randn(MOST_ROWS + 1, 24))
        assert len(calls) == 1
    linear(layer, torch.randn(8, 24)).sum().backward()
    assert len(calls) == 2
    assert layer.weight.grad is not None


def test_other_layers_and_dtypes_are_left_alone():
    half, wrapped = made(dtype=torch.bfloat16), nn.Sequential(made())
    calls = [called(layer) for layer in (half, wrapped)]
    with torch.no_grad():
        linear(half, torch.randn(2, 24, dtype=torch.bfloat16))
        linear(wrapped, torch.randn(2, 24))
    assert [len(its) for its in calls] == [1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_rank_products_are_added_in_their_factors_precision(dtype):
    torch.manual_seed(0)
    x, out = torch.randn(2, 3, 24, dtype=dtype), torch.randn(2, 3, 40, dtype=dtype)
    down, up = torch.randn(4, 24), torch.randn(40, 4)
    expected = (out.double() + 0.5 * x.double() @ down.double().T @ up.double().T).to(dtype)
    found = add_low_rank(out, x, down, up, 0.5)
    assert found is out  # in place
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5 if dtype == torch.float32 else 2**-7)


def test_few_is_for_decoding_alone():
    assert not few(torch.randn(2, 24))  # with gradients
    with torch.no_grad():
        assert few(torch.randn(2, 24))
        assert not few(torch.randn(MOST_ROWS + 1, 24))
        assert not few(torch.empty(2, 24, device="meta"))
