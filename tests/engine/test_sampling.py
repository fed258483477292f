"""What is sampled, what is recorded about it, and that both belong to one distribution."""

import itertools
import math

import pytest
import torch

from swirl_lightning.engine import GREEDY, Sampling
from swirl_lightning.engine.sampling import draw, uniforms
from swirl_lightning.models import FullWeights, Policy
from swirl_lightning.types import Answer

EOS = 0


def sample(model, prompts, seeds, *, group_size, max_tokens, sampling):
    """Rollouts of a model by itself."""
    weights = FullWeights(torch.nn.Module(), [])
    weights.activate = lambda name: model
    return Policy(weights, "a", Answer(EOS)).generate(
        prompts, seeds, group_size=group_size, max_tokens=max_tokens, sampling=sampling
    )


SAMPLINGS = (
    Sampling(),
    Sampling(temperature=0.5),
    Sampling(top_p=0.8),
    Sampling(top_k=4),
    Sampling(temperature=1.4, top_p=0.9, top_k=6),
)
PROMPTS = [(5, 9, 3), (8,), (4, 4, 7, 30, 2, 19, 11), (8, 8)]


def truncated(logits, sampling):
    """The distribution by its definition, with Python floats: a dict of id to probability."""
    weights = [math.exp(x / sampling.temperature) for x in (logits - logits.max()).tolist()]
    order = sorted(range(len(weights)), key=lambda i: -weights[i])
    kept, mass = [], 0.0
    for i in order[: sampling.top_k or None]:
        if mass >= sampling.top_p:
            break
        kept.append(i)
        mass += weights[i] / sum(weights)
    total = sum(weights[i] for i in kept)
    return {i: weights[i] / total for i in kept}


@pytest.fixture
def constant_model(tiny_model):
    """Makes a model whose next token has given probabilities, whatever came before."""

    def make(probabilities):
        model = tiny_model("phi")
        with torch.no_grad():
            model.lm_head.weight.zero_()
            model.lm_head.bias.fill_(-torch.inf)
            for token, p in probabilities.items():
                model.lm_head.bias[token] = math.log(p)
        return model

    return make


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_recorded_logprobs_and_support(sampling, tiny_model, plain_logits):
    """Against a plain forward of each text and the definition of the truncation."""
    model = tiny_model("qwen2")
    rollouts = sample(model, PROMPTS, [1, 2, 3, 4], group_size=5, max_tokens=6, sampling=sampling)
    for n, p in enumerate(rollouts.prompt_of.tolist()):
        row = tuple(rollouts.ids[n, rollouts.mask[n]].tolist())
        with torch.no_grad():
            logits = plain_logits(model, PROMPTS[p], row)
        for t, token in enumerate(row):
            expected = truncated(logits[t].double(), sampling)
            assert rollouts.logp[n, t].item() == pytest.approx(math.log(expected[token]), abs=1e-4)
            if rollouts.support is not None:
                assert {i for i in rollouts.support[n, t].tolist() if i >= 0} == set(expected)
        assert (rollouts.logp[n, len(row) :] == 0).all()
    assert (rollouts.support is None) == (sampling.top_p == 1 and sampling.top_k == 0)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_ratio_one_and_kl_zero_under_the_sampled_distribution(sampling, tiny_model):
    """The policy's scores of its own fresh rollouts are the recorded ones; an equal reference's are the same bits."""
    weights = FullWeights(tiny_model("llama"), ["a", "a_ref"])
    policy, reference = Policy(weights, "a", Answer(EOS)), Policy(weights, "a_ref", Answer(EOS))
    rollouts = policy.generate(PROMPTS, [1, 2, 3, 4], group_size=5, max_tokens=6, sampling=sampling)
    lengths = rollouts.mask.sum(1).tolist()
    rows = [tuple(ids[:length]) for ids, length in zip(rollouts.ids.tolist(), lengths, strict=True)]
    scores, ref = (
        who.logprobs(
            PROMPTS, rollouts.prompt_of, rows, lengths, temperature=sampling.temperature, support=rollouts.support
        )
        for who in (policy, reference)
    )
    assert torch.equal(scores.mask, rollouts.mask)
    torch.testing.assert_close((scores.logp - rollouts.logp).exp(), torch.ones_like(scores.logp), atol=1e-4, rtol=0)
    assert ref.logp.isfinite().all()
    assert torch.equal(ref.logp, scores.logp)


def test_another_reference_is_finite_on_the_support(tiny_model):
    """The reference is restricted to the policy's support, so a token that it would not sample has a finite value."""
    policy = Policy(FullWeights(tiny_model(seed=0), ["a"]), "a", Answer(EOS))
    reference = Policy(FullWeights(tiny_model(seed=5), ["a"]), "a", Answer(EOS))
    rollouts = policy.generate(PROMPTS, [1, 2, 3, 4], group_size=5, max_tokens=6, sampling=Sampling(top_p=0.6))
    lengths = rollouts.mask.sum(1).tolist()
    rows = [tuple(ids[:length]) for ids, length in zip(rollouts.ids.tolist(), lengths, strict=True)]
    scores = reference.logprobs(PROMPTS, rollouts.prompt_of, rows, lengths, support=rollouts.support)
    assert scores.logp.isfinite().all()
    assert (scores.logp - rollouts.logp).abs().max() > 0.5


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_equal_to_sampling_one_text_at_a_time(sampling, tiny_model, plain_logits):
    """Branching rows, retired rows and row_of: a naive sampler with the same uniform numbers says the same."""
    model, seeds, group_size, max_tokens = tiny_model("qwen3"), [11, 12, 13, 14], 6, 5
    rollouts = sample(model, PROMPTS, seeds, group_size=group_size, max_tokens=max_tokens, sampling=sampling)
    uniform = uniforms(seeds, group_size, max_tokens)
    naive = {}
    for p, g in itertools.product(range(len(PROMPTS)), range(group_size)):
        row = ()
        while len(row) < max_tokens and (not row or row[-1] != EOS):
            with torch.no_grad():
                logits = plain_logits(model, PROMPTS[p], (*row, 1))[-1]
            distribution = truncated(logits.double(), sampling)
            logp = torch.full_like(logits, -torch.inf)
            for token, q in distribution.items():
                logp[token] = math.log(q)
            row += (int(draw(logp[None], uniform[p, g, len(row)][None], torch.tensor([0]))),)
        naive[p, g] = row
    for (p, g), row in naive.items():
        n = int(rollouts.row_of[p, g])
        assert rollouts.prompt_of[n] == p
        assert tuple(rollouts.ids[n, rollouts.mask[n]].tolist()) == row
        assert rollouts.finished[n] == (row[-1] == EOS)
        assert rollouts.completions[n] == (row[:-1] if row[-1] == EOS else row)
    distinct = {(p, row) for (p, _), row in naive.items()}
    assert len(rollouts.completions) == len(distinct)
    counts = [sum(naive[p, g] == tuple(rollouts.ids[n, rollouts.mask[n]].tolist()) for g in range(group_size))
              for n, p in enumerate(rollouts.prompt_of.tolist())]  # fmt: skip
    assert rollouts.counts.tolist() == counts


def test_prompts_do_not_see_each_other(tiny_model):
    """A prompt's completions come from its own seed, alone or in any batch."""
    model = tiny_model("gemma")
    options = {"group_size": 4, "max_tokens": 7, "sampling": Sampling(top_p=0.95)}
    together = sample(model, PROMPTS, [1, 2, 3, 4], **options)
    turned = sample(model, PROMPTS[::-1], [4, 3, 2, 1], **options)
    for p, prompt in enumerate(PROMPTS):
        alone = sample(model, [prompt], [p + 1], **options)
        expected = [alone.completions[n] for n in alone.row_of[0].tolist()]
        assert [together.completions[n] for n in together.row_of[p].tolist()] == expected
        assert [turned.completions[n] for n in turned.row_of[len(PROMPTS) - 1 - p].tolist()] == expected
    other = sample(model, PROMPTS, [5, 6, 7, 8], **options)
    assert other.completions != together.completions


def within(count, total, p, errors=4.0):
    """Whether a frequency is its probability, up to so many standard errors."""
    return abs(count - total * p) <= errors * math.sqrt(total * p * (1 - p))


def test_frequencies_of_a_known_distribution(constant_model):
    probabilities = {EOS: 0.2, 3: 0.4, 7: 0.25, 60: 0.15}
    total = 4000
    rollouts = sample(constant_model(probabilities), [(5, 6)], [1], group_size=total, max_tokens=2, sampling=Sampling())
    counts = dict(zip(rollouts.completions, rollouts.counts.tolist(), strict=True))
    tokens = [i for i in probabilities if i != EOS]
    expected = {(): 0.2} | {(a,): probabilities[a] * 0.2 for a in tokens}
    expected |= {(a, b): probabilities[a] * probabilities[b] for a in tokens for b in tokens}
    assert set(counts) == set(expected)
    assert all(within(counts[row], total, p) for row, p in expected.items())
    finished = {row for row, done in zip(rollouts.completions, rollouts.finished.tolist(), strict=True) if done}
    assert finished == {row for row in expected if len(row) < 2}


def test_a_group_is_drawn_independently(constant_model):
    """Rows are shared while samples agree, yet two samples agree as often as two independent draws."""
    probabilities = {EOS: 0.3, 3: 0.5, 7: 0.2}
    total = 3000
    rollouts = sample(
        constant_model(probabilities), [(5,)] * total, list(range(total)), group_size=2, max_tokens=2,
        sampling=Sampling(),
    )  # fmt: skip
    rows = {(): 0.3} | {(a,): probabilities[a] * 0.3 for a in (3, 7)}
    rows |= {(a, b): probabilities[a] * probabilities[b] for a in (3, 7) for b in (3, 7)}
    agree = int((rollouts.row_of[:, 0] == rollouts.row_of[:, 1]).sum())
    assert within(agree, total, sum(p * p for p in rows.values()))
    completions = [[rollouts.completions[n] for n in group] for group in rollouts.row_of.tolist()]
    for a, b in itertools.product(rows, rows):
        assert within(sum(pair == [a, b] for pair in completions), total, rows[a] * rows[b], errors=4.5)


def test_frequencies_follow_the_context(tiny_model, plain_logits):
    """Two tokens of a model with attention, against the product of its exact conditional distributions."""
    model, prompt, sampling, total = tiny_model("llama"), PROMPTS[2], Sampling(temperature=1.5, top_k=3), 3000
    rollouts = sample(model, [prompt], [3], group_size=total, max_tokens=2, sampling=sampling)
    counts = dict(zip(rollouts.completions, rollouts.counts.tolist(), strict=True))
    with torch.no_grad():
        first = truncated(plain_logits(model, prompt, (1,))[0].double(), sampling)
        exact = {
            (a, b): p * q
            for a, p in first.items()
            for b, q in truncated(plain_logits(model, prompt, (a, 1))[1].double(), sampling).items()
        }
    assert EOS not in itertools.chain.from_iterable(exact)
    assert set(counts) == set(exact)
    assert all(within(counts[row], total, p) for row, p in exact.items())


def test_greedy_is_argmax(tiny_model, plain_logits):
    model = tiny_model("qwen2")
    rollouts = sample(model, PROMPTS, [0] * 4, group_size=1, max_tokens=6, sampling=GREEDY)
    for p, prompt in enumerate(PROMPTS):
        row, logp = (), []
        while len(row) < 6 and EOS not in row:
            with torch.no_grad():
                logits = plain_logits(model, prompt, (*row, 1))[-1]
            row += (int(logits.argmax()),)
            logp.append(torch.log_softmax(logits, -1)[row[-1]])
        n = int(rollouts.row_of[p, 0])
        assert tuple(rollouts.ids[n, rollouts.mask[n]].tolist()) == row
        torch.testing.assert_close(rollouts.logp[n, : len(row)], torch.stack(logp), atol=1e-4, rtol=1e-4)


def test_immediate_end(constant_model):
    rollouts = sample(
        constant_model({EOS: 1.0}), [(5,), (6, 7)], [1, 2], group_size=3, max_tokens=4, sampling=Sampling()
    )
    assert rollouts.completions == ((), ())
    assert rollouts.ids.tolist() == [[EOS], [EOS]]
    assert rollouts.mask.tolist() == [[True], [True]]
    assert rollouts.finished.all()
    assert rollouts.counts.tolist() == [3, 3]
    assert rollouts.logp.tolist() == [[0.0], [0.0]]


def test_length_limit(constant_model):
    rollouts = sample(constant_model({4: 1.0}), [(5,)], [1], group_size=3, max_tokens=4, sampling=Sampling(top_p=0.5))
    assert rollouts.completions == ((4, 4, 4, 4),)
    assert rollouts.mask.all()
    assert not rollouts.finished.any()
    assert rollouts.support is not None
    assert rollouts.support.tolist() == [[[4]] * 4]
    assert rollouts.support.dtype == torch.int32


def test_rows_are_the_distinct_unfinished_prefixes(constant_model):
    """One row per distinct prefix and prompt; rows whose samples have all ended are dropped, and so are prompts."""
    model, batches = constant_model({EOS: 0.3, 3: 0.5, 7: 0.2}), []
    model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: batches.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    rollouts = sample(model, [(5,), (6, 7)], [1, 2], group_size=16, max_tokens=8, sampling=Sampling())
    expected = [(2, 2)]  # the prompts
    for t in range(1, rollouts.mask.shape[1]):
        live = {
            (int(p), tuple(ids[:t])) for p, ids, mask in zip(rollouts.prompt_of, rollouts.ids.tolist(), rollouts.mask,
            strict=True) if mask[t]
        }  # fmt: skip
        rows = [sum(p == q for q, _ in live) for p in range(2)]
        expected.append((sum(map(bool, rows)), max(rows)))
    assert batches == expected
    assert max(rows * prompts for prompts, rows in batches) < 32


def test_draw_takes_possible_tokens_only():
    logp = torch.tensor([[0.0, 0.25, 0.75, 0.0]]).log()
    uniform = torch.tensor([0.0, 0.2499, 0.2501, 1.0 - 2**-24])
    assert draw(logp, uniform, torch.zeros(4, dtype=torch.long)).tolist() == [1, 1, 2, 2]


def test_draw_from_one_row_for_many_samples():
    """Whatever the order of samples and however many a row has, each is as if it were drawn by itself."""
    generator = torch.Generator().manual_seed(0)
    logp = torch.randn(5, 300, generator=generator).log_softmax(-1)
    row = torch.tensor([3, 0, 3, 3, 1, 0, 4, 3, 1])  # none of row 2
    uniform = torch.rand(len(row), generator=generator)
    alone = [int(draw(logp[r][None], u[None], torch.tensor([0]))) for r, u in zip(row, uniform, strict=True)]
    assert draw(logp, uniform, row).tolist() == alone
    assert len(set(alone)) > 5
