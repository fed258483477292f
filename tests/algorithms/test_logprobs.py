"""token_logprobs against a dense log_softmax: values, gradients, and what it must not compute."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from swirl_lightning.algorithms.logprobs import token_logprobs

M, D, V, K = 11, 6, 17, 5


def inputs(dtype=torch.float64, num_tokens=M, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(num_tokens, D, generator=generator, dtype=torch.float64).to(dtype)
    weight = torch.randn(V, D, generator=generator, dtype=torch.float64).to(dtype)
    bias = torch.randn(V, generator=generator, dtype=torch.float64).to(dtype)
    targets = torch.randint(V, (num_tokens,), generator=generator)
    order = torch.rand(num_tokens, V, generator=generator).scatter(1, targets[:, None], -1.0).argsort(dim=1)
    support = order[:, :K]  # the target comes first
    support = support.masked_fill(torch.arange(K) >= torch.arange(num_tokens)[:, None] % K + 1, -1)
    support = support.flip(1)  # padding may stand anywhere
    return hidden, weight, bias, targets, support


def dense(hidden, weight, targets, *, bias_V=None, temperature=1.0, support_MK=None):
    logits = hidden @ weight.T / temperature
    if bias_V is not None:
        logits = logits + bias_V / temperature
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if support_MK is not None:
        allowed = torch.zeros(len(logits), V + 1, dtype=torch.bool)
        allowed = allowed.scatter(1, support_MK.where(support_MK >= 0, V), True)[:, :V]
        logits = logits.masked_fill(~allowed, -math.inf)
    logp = logits.log_softmax(-1)
    return logp.gather(1, targets[:, None])[:, 0], -(logp.exp() * logp).nansum(-1)


@pytest.mark.parametrize("chunk", [1, 4, M - 1, M, 100])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("use_support", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_equals_the_dense_form(chunk, temperature, use_support, use_bias):
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        hidden, weight, bias, targets, support = inputs(dtype)
        leaves = [x.requires_grad_() for x in ((hidden, weight, bias) if use_bias else (hidden, weight))]
        settings = {"bias_V": bias if use_bias else None, "temperature": temperature}
        settings |= {"support_MK": support if use_support else None}
        got = token_logprobs(hidden, weight, targets, chunk=chunk, **settings)
        want = dense(hidden, weight, targets, **settings)
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)
        assert not got[1].requires_grad
        outer = torch.linspace(-1, 2, M, dtype=dtype)
        got_grads, want_grads = (torch.autograd.grad(x[0] @ outer, leaves) for x in (got, want))
        torch.testing.assert_close(got_grads, want_grads, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("use_support", [False, True])
def test_gradcheck(use_support):
    hidden, weight, bias, targets, support = inputs(num_tokens=5)
    leaves = [x.requires_grad_() for x in (hidden, weight, bias)]
    assert torch.autograd.gradcheck(
        lambda hidden, weight, bias: token_logprobs(
            hidden, weight, targets, bias_V=bias, temperature=0.7, support_MK=support if use_support else None, chunk=2
        )[0],
        leaves,
    )


def test_bf16_logits_get_a_float32_softmax():
    hidden, weight, _, targets, _ = inputs(torch.bfloat16)
    logp, entropy = token_logprobs(hidden.requires_grad_(), weight, targets, chunk=4)
    assert logp.dtype == entropy.dtype == torch.float32
    torch.testing.assert_close((logp, entropy), dense(hidden, weight, targets), rtol=1e-5, atol=1e-5)
    (grad,) = torch.autograd.grad(logp.sum(), hidden)
    assert grad.dtype == torch.bfloat16
    (want,) = torch.autograd.grad(dense(hidden.float(), weight.float(), targets)[0].sum(), hidden)
    torch.testing.assert_close(grad, want, rtol=0.05, atol=0.05)


def test_hidden_of_another_dtype_follows_the_weight():
    hidden, weight, _, targets, _ = inputs(torch.float32)
    got = token_logprobs(hidden.bfloat16(), weight, targets)[0]
    torch.testing.assert_close(got, dense(hidden.bfloat16().float(), weight, targets)[0])


def test_a_support_of_one_token_is_certain():
    hidden, weight, _, targets, _ = inputs()
    logp, entropy = token_logprobs(hidden, weight, targets, support_MK=targets[:, None])
    torch.testing.assert_close(logp, torch.zeros(M, dtype=torch.float64))
    torch.testing.assert_close(entropy, torch.zeros(M, dtype=torch.float64))


def test_no_tokens():
    hidden, weight, _, targets, support = (x[:0] if len(x) == M else x for x in inputs())
    for mask in (None, support):
        assert [len(x) for x in token_logprobs(hidden, weight, targets, support_MK=mask)] == [0, 0]


class Shapes(TorchDispatchMode):
    """Shapes of all tensors that any operation makes, and of the matrix products among them."""

    def __init__(self):
        super().__init__()
        self.seen, self.products = set(), set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, torch.Tensor):
                self.seen.add(tuple(x.shape))
                if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
                    self.products.add(frozenset(x.shape))
        return out


@pytest.mark.parametrize("frozen", [True, False])
def test_what_is_never_computed(frozen):
    hidden, weight, _, targets, support = inputs()
    hidden.requires_grad_()
    weight.requires_grad_(not frozen)
    saved = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(tuple(x.shape)) or x, lambda x: x)
    with hooks, Shapes() as forward:
        logp, _ = token_logprobs(hidden, weight, targets, support_MK=support, chunk=4)
    with Shapes() as backward:
        logp.sum().backward()
    wide = {shape for shape in forward.seen | backward.seen if len(shape) == 2 and shape[1] == V}
    assert wide
    assert max(rows for rows, _ in wide - {(D, V)}) <= 4, "more than a chunk of logits"
    assert not [shape for shape in saved if V in shape and shape not in {(V, D), (D, V)}], "logits kept for backward"
    assert (frozenset((V, D)) in backward.products) == (not frozen), "a weight gradient, or the lack of one"
    assert (weight.grad is None) == frozen


def test_errors():
    hidden, weight, _, targets, support = inputs()
    with pytest.raises(ValueError, match="temperature is 0"):
        token_logprobs(hidden, weight, targets, temperature=0.0)
    support[3] = (targets[3] + 1) % V
    with pytest.raises(ValueError, match="of token 3 is not in its support"):
        token_logprobs(hidden, weight, targets, support_MK=support)
