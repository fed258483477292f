"""grpo_loss and group_advantages against their definitions with Python floats: slow, and obviously right."""

import itertools
import math
import statistics

import pytest
import torch

from swirl_lightning.algorithms.grpo import group_advantages, grpo_loss, loss_normalizer, row_mean

LOSSES = ("grpo", "dr_grpo", "dapo")
MAX_TOKENS = 7
CLIPS = ((0.2, 0.2), (0.1, 0.4))
COMBINATIONS = list(itertools.product(LOSSES, ("token", "sequence"), (0.0, 0.3), CLIPS, ([1, 1, 1, 1], [3, 1, 2, 5])))


def naive_loss(logp, old, ref, adv, mask, weight, *, clip_low, clip_high, beta, loss, importance):
    """The loss of the repeated rows, with its kl and clip fraction: arXiv:2402.03300 eq. 3 and its successors."""
    rows, kls, clips, tokens = [], [], [], 0
    for n in [n for n, count in enumerate(weight) for _ in range(count)]:
        kept = [t for t, keep in enumerate(mask[n]) if keep]
        log_ratios = [logp[n][t] - old[n][t] for t in kept]
        if importance == "sequence":
            log_ratios = [sum(log_ratios) / len(kept)] * len(kept)
        terms, row_kls, row_clips = [], [], []
        for t, log_ratio in zip(kept, log_ratios, strict=True):
            ratio = math.exp(log_ratio)
            clipped = min(max(ratio, 1 - clip_low), 1 + clip_high)
            delta = ref[n][t] - logp[n][t]
            row_kls.append(math.exp(delta) - delta - 1)
            row_clips.append(clipped * adv[n] < ratio * adv[n])
            terms.append(-min(ratio * adv[n], clipped * adv[n]) + beta * row_kls[-1])
        tokens += len(kept)
        rows.append(sum(terms) / (len(kept) if loss == "grpo" else 1))
        kls.append(sum(row_kls) / len(kept))
        clips.append(sum(row_clips) / len(kept))
    divisor = {"grpo": len(rows), "dr_grpo": len(rows) * MAX_TOKENS, "dapo": tokens}[loss]
    return sum(rows) / divisor, sum(kls) / len(rows), sum(clips) / len(rows)


def inputs(num_rows=4, num_tokens=5, seed=28):
    """Log-probs with ratios on both sides of the clip, advantages of both signs, ragged rows (one of one token)."""
    generator = torch.Generator().manual_seed(seed)
    logp = -0.2 - 2 * torch.rand(num_rows, num_tokens, generator=generator, dtype=torch.float64)
    old, ref = (
        logp + 0.7 * torch.randn(num_rows, num_tokens, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    adv = torch.tensor([1.3, -0.7, 0.4, -1.1], dtype=torch.float64).repeat(num_rows // 4 + 1)[:num_rows]
    lengths = torch.tensor([num_tokens, 1, 3, 4]).repeat(num_rows // 4 + 1)[:num_rows]
    mask = torch.arange(num_tokens) < lengths[:, None]
    return logp, old, ref, adv, mask


@pytest.mark.parametrize(("loss", "importance", "beta", "clip", "counts"), COMBINATIONS)
def test_loss_matches_naive_loops(loss, importance, beta, clip, counts):
    logp, old, ref, adv, mask = inputs()
    weight = torch.tensor(counts)
    settings = {"clip_low": clip[0], "clip_high": clip[1], "beta": beta}
    settings |= {"loss": loss, "importance": importance}
    normalizer = loss_normalizer(mask, weight, loss=loss, max_tokens=MAX_TOKENS)

    def compute(logp, dtype=torch.float64):
        tensors = (x.to(dtype) for x in (logp, old, ref, adv))
        return grpo_loss(*tensors, mask, weight, normalizer=normalizer, **settings)

    want = naive_loss(*(x.tolist() for x in (logp, old, ref, adv, mask, weight)), **settings)
    for got, expected in zip(compute(logp), want, strict=True):
        assert got.item() == pytest.approx(expected, rel=1e-10)
    for got, expected in zip(compute(logp, torch.float32), want, strict=True):
        assert got.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert torch.autograd.gradcheck(lambda logp: compute(logp).loss, logp.requires_grad_())


@pytest.mark.parametrize("importance", ["token", "sequence"])
def test_the_naive_case_clips_both_ways(importance):
    logp, old, _, adv, mask = inputs()
    log_ratio = logp - old if importance == "token" else row_mean(logp - old, mask)[:, None]
    for clip_low, clip_high in CLIPS:
        assert (mask & (log_ratio.exp() > 1 + clip_high) & (adv[:, None] > 0)).any()
        assert (mask & (log_ratio.exp() < 1 - clip_low) & (adv[:, None] < 0)).any()


@pytest.mark.parametrize("importance", ["token", "sequence"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_weighted_row_equals_its_repetition(loss, importance):
    logp, old, ref, adv, mask = inputs()
    weight = torch.tensor([3, 1, 2, 5])

    def compute(rows, weight):
        args = [x[rows] for x in (leaf, old, ref, adv, mask)]
        normalizer = loss_normalizer(args[-1], weight, loss=loss, max_tokens=MAX_TOKENS)
        return grpo_loss(*args, weight, normalizer=normalizer, loss=loss, importance=importance, beta=0.1)

    leaf = logp.requires_grad_()
    distinct = compute(torch.arange(4), weight)
    repeated = compute(torch.arange(4).repeat_interleave(weight), torch.ones(11, dtype=torch.long))
    torch.testing.assert_close(distinct, repeated, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(x.loss, leaf)[0] for x in (distinct, repeated)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("sizes", [(3, 5), (1, 4, 3)])
@pytest.mark.parametrize("loss", LOSSES)
def test_micro_batches_add_up(loss, sizes):
    args = (*inputs(num_rows=8), torch.tensor([1, 2, 3, 1, 5, 1, 1, 2]))
    leaf = args[0].requires_grad_()
    normalizer = loss_normalizer(*args[-2:], loss=loss, max_tokens=MAX_TOKENS)
    settings = {"loss": loss, "beta": 0.1, "normalizer": normalizer}
    whole = grpo_loss(*args, **settings).loss
    parts = sum(grpo_loss(*part, **settings).loss for part in zip(*(x.split(sizes) for x in args), strict=True))
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(x, leaf)[0] for x in (parts, whole)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("garbage", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("importance", ["token", "sequence"])
def test_masked_positions_reach_nothing(garbage, importance):
    logp, old, ref, adv, mask = inputs()
    weight = torch.ones(4)
    settings = {"beta": 0.1, "importance": importance, "normalizer": 4.0}
    clean = grpo_loss(logp.requires_grad_(), old, ref, adv, mask, weight, **settings)
    dirty_logp = logp.detach().masked_fill(~mask, garbage).requires_grad_()
    old, ref = (x.masked_fill(~mask, garbage) for x in (old, ref))
    dirty = grpo_loss(dirty_logp, old, ref, adv, mask, weight, **settings)
    assert [x.item() for x in dirty] == [x.item() for x in clean]
    (clean_grad,), (dirty_grad,) = (
        torch.autograd.grad(clean.loss, logp),
        torch.autograd.grad(dirty.loss, dirty_logp),
    )
    assert dirty_grad.equal(clean_grad)
    assert (dirty_grad[~mask] == 0).all()


def test_without_reference_there_is_no_kl():
    logp, old, _, adv, mask = inputs()
    result = grpo_loss(logp.requires_grad_(), old, None, adv, mask, torch.ones(4), normalizer=4.0)
    assert result.kl.item() == 0
    assert not result.kl.requires_grad
    assert not result.clip_fraction.requires_grad
    assert torch.autograd.grad(result.loss, logp)[0].isfinite().all()


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_non_finite_inputs_are_named(position, value):
    args = list(inputs())
    args[position][2] = value
    name = ("logp_NT", "old_logp_NT", "ref_logp_NT", "adv_N")[position]
    with pytest.raises(ValueError, match=rf"grpo_loss: {name} is .*\[2"):
        grpo_loss(*args, torch.ones(4), normalizer=4.0, beta=0.1)


def test_other_errors():
    logp, old, ref, adv, mask = inputs()
    with pytest.raises(ValueError, match="ref_logp_NT is None"):
        grpo_loss(logp, old, None, adv, mask, torch.ones(4), normalizer=4.0, beta=0.1)
    mask[1] = False
    with pytest.raises(ValueError, match="row 1 of mask_NT has no token"):
        grpo_loss(logp, old, ref, adv, mask, torch.ones(4), normalizer=4.0)
    with pytest.raises(ValueError, match="divided by 0"):
        loss_normalizer(mask, torch.zeros(4), loss="grpo", max_tokens=MAX_TOKENS)


def test_normalizer_counts_samples_or_tokens():
    mask, weight = torch.tensor([[1, 1, 1], [1, 0, 0]], dtype=torch.bool), torch.tensor([2, 5])
    got = {loss: loss_normalizer(mask, weight, loss=loss, max_tokens=3) for loss in LOSSES}
    assert got == {"grpo": 7, "dr_grpo": 21, "dapo": 11}


def test_row_mean_reads_only_the_mask():
    x = torch.tensor([[1.0, 3.0, math.nan], [math.inf, -2.0, math.nan]])
    mask = torch.tensor([[True, True, False], [False, True, False]])
    assert row_mean(x, mask).tolist() == [2.0, -2.0]


@pytest.mark.parametrize("shape", [(3, 4), (1, 2), (5, 2)])
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("min_spread", [0.0, 0.8, 5.0])
def test_group_advantages_match_naive_loops(scale, shape, min_spread):
    rewards = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    groups, eps = rewards.tolist(), 0.01
    batch_std = statistics.stdev(itertools.chain(*groups))
    want = []
    for group in groups:
        spread = {"group": statistics.stdev(group), "batch": batch_std}.get(scale)
        divisor = 1 if spread is None else max(spread, min_spread) + eps
        want.append([(reward - statistics.mean(group)) / divisor for reward in group])
    got = group_advantages(rewards, scale=scale, min_spread=min_spread, eps=eps)
    torch.testing.assert_close(got.tolist(), want, rtol=1e-12, atol=1e-12)


def test_rounding_stays_small_above_a_smallest_spread():
    rewards = torch.tensor([[-0.300, -0.301, -0.302, -0.299], [-0.3, -1.3, -2.3, 0.7]])
    assert group_advantages(rewards)[0].abs().max() > 1
    got = group_advantages(rewards, min_spread=0.1)
    assert got[0].abs().max() < 0.02
    torch.testing.assert_close(got[1], group_advantages(rewards)[1])


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_groups_without_spread_get_exactly_zero(scale):
    rewards = torch.tensor([[0.1] * 7, [0.7, 0.1, 0.3, 0.2, 0.6, 0.5, 0.9]])
    assert rewards[0].sub(rewards[0].mean()).any(), "the case must have a rounding error to remove"
    got = group_advantages(rewards, scale=scale)
    assert (got[0] == 0).all()
    assert (got[1] != 0).any()
    for num_prompts in (1, 3):
        single = group_advantages(torch.randn(num_prompts, 1), scale=scale)
        assert single.equal(torch.zeros(num_prompts, 1))
