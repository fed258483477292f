"""token_logprobs against a dense log_softmax: values, gradients, and what it must not compute."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from swirl_lightning.algorithms import logprobs
from swirl_lightning.algorithms.logprobs import token_logprobs

M, D, V, K = 11, 6, 17, 5


@pytest.fixture
def tile(monkeypatch):
    """Sets the size of a tile: tokens, columns."""

    def set_size(tokens, columns):
        monkeypatch.setattr(logprobs, "TOKENS", tokens)
        monkeypatch.setattr(logprobs, "COLUMNS", columns)

    return set_size


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


@pytest.mark.parametrize("size", [(1, 1), (4, 5), (M - 1, V - 1), (M, V), (100, 100)])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("use_support", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_equals_the_dense_form(tile, size, temperature, use_support, use_bias):
    tile(*size)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        hidden, weight, bias, targets, support = inputs(dtype)
        leaves = [x.requires_grad_() for x in ((hidden, weight, bias) if use_bias else (hidden, weight))]
        settings = {"bias_V": bias if use_bias else None, "temperature": temperature}
        settings |= {"support_MK": support if use_support else None}
        got = token_logprobs(hidden, weight, targets, entropy=True, **settings)
        want = dense(hidden, weight, targets, **settings)
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)
        assert not got[1].requires_grad
        assert token_logprobs(hidden, weight, targets, **settings)[1] is None
        outer = torch.linspace(-1, 2, M, dtype=dtype)
        got_grads, want_grads = (torch.autograd.grad(x[0] @ outer, leaves) for x in (got, want))
        torch.testing.assert_close(got_grads, want_grads, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("use_support", [False, True])
def test_gradcheck(tile, use_support):
    tile(2, 5)
    hidden, weight, bias, targets, support = inputs(num_tokens=5)
    leaves = [x.requires_grad_() for x in (hidden, weight, bias)]
    assert torch.autograd.gradcheck(
        lambda hidden, weight, bias: token_logprobs(
            hidden, weight, targets, bias_V=bias, temperature=0.7, support_MK=support if use_support else None
        )[0],
        leaves,
    )


@pytest.mark.parametrize("needed", [(True, False, False), (False, True, False), (False, False, True)])
def test_each_gradient_alone(tile, needed):
    tile(4, 5)
    hidden, weight, bias, targets, _ = inputs()
    leaves = [x.requires_grad_(need) for x, need in zip((hidden, weight, bias), needed, strict=True)]
    token_logprobs(hidden, weight, targets, bias_V=bias)[0].sum().backward()
    assert tuple(x.grad is not None for x in leaves) == needed
    (leaf,) = (x for x in leaves if x.requires_grad)
    (want,) = torch.autograd.grad(dense(hidden, weight, targets, bias_V=bias)[0].sum(), leaf)
    torch.testing.assert_close(leaf.grad, want)


def test_logits_far_apart(tile):
    tile(4, 5)
    hidden, weight, _, targets, support = inputs(torch.float32)
    hidden = (hidden * 200).requires_grad_()  # exp of most differences under- or overflows
    for mask in (None, support):
        got, want = (f(hidden, weight, targets, support_MK=mask) for f in (token_logprobs, dense))
        torch.testing.assert_close(got[0], want[0])
        got_grad, want_grad = (torch.autograd.grad(x[0].sum(), hidden)[0] for x in (got, want))
        torch.testing.assert_close(got_grad, want_grad, rtol=1e-5, atol=1e-4)


def test_impossible_tokens(tile):
    tile(4, 5)
    hidden, weight, bias, targets, _ = inputs()
    bias[:7] = -torch.inf  # the whole first tile, and part of the next
    targets = targets.clamp(min=7)
    targets[0] = 6
    hidden.requires_grad_()
    logp, entropy = token_logprobs(hidden, weight, targets, bias_V=bias, entropy=True)
    want = dense(hidden, weight, targets, bias_V=bias)
    assert logp[0] == -torch.inf
    torch.testing.assert_close((logp, entropy), want)
    torch.testing.assert_close(*(torch.autograd.grad(x[1:].sum(), hidden)[0] for x in (logp, want[0])))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("use_support", [False, True])
def test_a_bad_hidden_state_is_not_hidden(tile, bad, use_support):
    tile(4, 5)
    hidden, weight, _, targets, support = inputs()
    hidden[2, 3] = bad
    hidden.requires_grad_()
    support = support if use_support else None
    logp, entropy = token_logprobs(hidden, weight, targets, support_MK=support, entropy=True)
    (grad,) = torch.autograd.grad(logp.sum(), hidden)
    for x in (logp, entropy, grad.sum(1)):
        assert not x[2].isfinite()
        assert x.isfinite().sum() == M - 1


def test_bf16_logits_get_a_float32_softmax(tile):
    tile(4, 5)
    hidden, weight, _, targets, _ = inputs(torch.bfloat16)
    got = token_logprobs(hidden.requires_grad_(), weight.requires_grad_(), targets, entropy=True)
    assert got[0].dtype == got[1].dtype == torch.float32
    torch.testing.assert_close(got, dense(hidden, weight, targets), rtol=1e-5, atol=1e-5)
    leaves = [x.detach().float().requires_grad_() for x in (hidden, weight)]
    want = torch.autograd.grad(dense(*leaves, targets)[0].sum(), leaves)
    grads = torch.autograd.grad(got[0].sum(), (hidden, weight))
    assert {x.dtype for x in grads} == {torch.bfloat16}
    for grad, exact in zip(grads, want, strict=True):
        torch.testing.assert_close(grad.float(), exact, rtol=0.05, atol=0.05)


def test_tiles_of_bf16_add_up_in_float32(tile):
    tile(4, 1)
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, D, generator=generator).abs().bfloat16() for n in (4, 2000))
    (grad,) = torch.autograd.grad(token_logprobs(hidden.requires_grad_(), weight, torch.arange(4))[0].sum(), hidden)
    exact = hidden.detach().float().requires_grad_()
    (want,) = torch.autograd.grad(dense(exact, weight.float(), torch.arange(4))[0].sum(), exact)
    assert (grad.float() - want).norm() < 0.01 * want.norm()


def test_half_precision_holds_small_gradients():
    hidden, weight, _, targets, _ = inputs(torch.float16)
    scale = 1e-4  # of one token of many; times a probability it is too small for float16
    (grad,) = torch.autograd.grad(token_logprobs(hidden, weight.requires_grad_(), targets)[0].sum() * scale, weight)
    exact = weight.detach().float().requires_grad_()
    (want,) = torch.autograd.grad(dense(hidden.float(), exact, targets)[0].sum() * scale, exact)
    torch.testing.assert_close(grad.float(), want, rtol=0.05, atol=1e-6)


@pytest.mark.parametrize(
    ("hidden_dtype", "weight_dtype"), [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16)]
)
def test_two_dtypes_meet_in_the_wider(tile, hidden_dtype, weight_dtype):
    tile(4, 5)
    hidden, weight, _, targets, _ = inputs(torch.bfloat16)
    leaves = hidden.to(hidden_dtype).requires_grad_(), weight.to(weight_dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        logp, _ = token_logprobs(*leaves, targets)
    exact = [x.detach().float().requires_grad_() for x in leaves]
    want = dense(*exact, targets)[0]
    torch.testing.assert_close(logp, want)
    grads, want_grads = torch.autograd.grad(logp.sum(), leaves), torch.autograd.grad(want.sum(), exact)
    for leaf, grad, want_grad in zip(leaves, grads, want_grads, strict=True):
        assert grad.dtype == leaf.dtype
        tolerance = 1e-5 if leaf.dtype == torch.float32 else 0.02  # a bf16 gradient is rounded once per tile of tokens
        torch.testing.assert_close(grad.float(), want_grad, rtol=tolerance, atol=tolerance)


def test_a_support_of_one_token_is_certain():
    hidden, weight, _, targets, _ = inputs()
    logp, entropy = token_logprobs(hidden, weight, targets, support_MK=targets[:, None], entropy=True)
    torch.testing.assert_close(logp, torch.zeros(M, dtype=torch.float64))
    torch.testing.assert_close(entropy, torch.zeros(M, dtype=torch.float64))


def test_no_tokens():
    hidden, weight, _, targets, support = (x[:0] if len(x) == M else x for x in inputs())
    hidden.requires_grad_()
    for mask in (None, support):
        logp, entropy = token_logprobs(hidden, weight, targets, support_MK=mask, entropy=True)
        assert len(logp) == len(entropy) == 0
        logp.sum().backward()


class Record(TorchDispatchMode):
    """Shapes of all tensors that any operation makes or returns, and of the matrix products among them."""

    def __init__(self):
        super().__init__()
        self.seen, self.products = set(), []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, torch.Tensor):
                self.seen.add(tuple(x.shape))
                if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm_.default):
                    self.products.append(tuple(x.shape))
        return out


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("support_size", [None, 3, 16])
def test_what_is_never_computed(tile, frozen, support_size):
    tile(4, 5)
    num_tokens, num_tiles = 12, 3 * 4
    hidden, weight, _, targets, _ = inputs(num_tokens=num_tokens)
    hidden.requires_grad_()
    weight.requires_grad_(not frozen)
    # the target and padding
    support = None if support_size is None else targets[:, None].where(torch.arange(support_size) == 0, -1)
    if support_size == 16:
        num_tiles = 12 * 4  # one token at a time: a tile reads 16 ids of each
    saved = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(tuple(x.shape)) or x, lambda x: x)
    with hooks, Record() as forward:
        logp, _ = token_logprobs(hidden, weight, targets, support_MK=support)
    with Record() as backward:
        logp.sum().backward()
    inherent = {
        (num_tokens, D),
        (V, D),
        (D, V),
        (num_tokens, support_size),
    }  # inputs, outputs and the check of the support
    largest = max(math.prod(shape) for shape in (forward.seen | backward.seen) - inherent)
    assert largest <= max(4 * 5, 4 * D, 5 * D, 3 * num_tokens), "more than a tile"
    assert not [shape for shape in saved if len(shape) == 2 and shape not in inherent and shape[1] > 1], "logits kept"
    assert len(forward.products) == num_tiles
    assert len(backward.products) == num_tiles * (2 if frozen else 3), "a weight gradient, or the lack of one"
    assert (weight.grad is None) == frozen


def test_errors():
    hidden, weight, _, targets, support = inputs()
    with pytest.raises(ValueError, match="temperature is 0"):
        token_logprobs(hidden, weight, targets, temperature=0.0)
    for wrong in (-1, V):
        with pytest.raises(ValueError, match=f"target {wrong} of token 1 is none of the {V} ids"):
            token_logprobs(hidden, weight, targets.where(torch.arange(M) != 1, wrong))
    support[3] = (targets[3] + 1) % V
    with pytest.raises(ValueError, match="of token 3 is not in its support"):
        token_logprobs(hidden, weight, targets, support_MK=support)
