"""Policy.logprobs, which shares prompts, equals whole texts through the Hugging Face model: values and gradients.

Both under the distribution that is asked for, and at temperature 1 with every token allowed.
"""

import pytest
import torch
from peft import LoraConfig

from swirl_lightning.models import FullWeights, LoraWeights, Policy
from swirl_lightning.types import Answer

KINDS = ("llama", "qwen2", "qwen3", "gemma", "phi")
EOS = 0


def plain(model, plain_logits, prompts, prompt_of, rows, scored, temperature, support):
    """Of each row's scored tokens: log-probs, those at temperature 1 and unrestricted, and the latter's entropies."""
    results = []
    for n, (p, row) in enumerate(zip(prompt_of.tolist(), rows, strict=True)):
        targets = torch.tensor(row[len(row) - scored[n] :])
        logits = plain_logits(model, prompts[p], row)[len(row) - scored[n] :]
        whole = torch.log_softmax(logits, -1)
        logits = logits / temperature
        if support is not None:
            allowed = torch.zeros_like(logits, dtype=torch.bool)
            for t in range(scored[n]):
                allowed[t, support[n, t][support[n, t] >= 0]] = True
            logits = logits.masked_fill(~allowed, -torch.inf)
        logp = torch.log_softmax(logits, -1)[range(scored[n]), targets]
        results.append((logp, whole[range(scored[n]), targets], -(whole.exp() * whole).sum(-1)))
    return results


def some_support(rows, scored, vocabulary=61):
    """For each scored token 3 to 9 distinct ids, the token among them."""
    generator = torch.Generator().manual_seed(9)
    support = torch.full((len(rows), max(scored), 9), -1)
    for n, row in enumerate(rows):
        for t, token in enumerate(row[len(row) - scored[n] :]):
            others = [i for i in torch.randperm(vocabulary, generator=generator).tolist() if i != token]
            ids = [*others[: 2 + (n + t) % 7], token]
            support[n, t, : len(ids)] = torch.tensor(ids)
    return support


def compare(weights, policy, model, parameters, plain_logits, texts, *, scored=None, temperature=1.0, restricted=False):
    """Assert equal log-probs, entropies and gradients."""
    prompts, prompt_of, rows = texts
    scored = scored or list(map(len, rows))
    support = some_support(rows, scored) if restricted else None
    scores = policy.logprobs(prompts, prompt_of, rows, scored, temperature=temperature, support=support, plain=True)
    generator = torch.Generator().manual_seed(1)
    coefficient = torch.randn(scores.logp.shape, generator=generator)
    assert scores.mask.sum(1).tolist() == scored
    both = coefficient * scores.logp + 0.7 * coefficient.flip(1) * scores.plain_logp
    shared = torch.autograd.grad(both.sum(), parameters)

    expected = plain(model, plain_logits, prompts, prompt_of, rows, scored, temperature, support)
    loss = 0.0
    for n, (logp, whole, entropy) in enumerate(expected):
        torch.testing.assert_close(scores.logp[n, : scored[n]].double(), logp.double(), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(scores.plain_logp[n, : scored[n]].double(), whole.double(), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(scores.entropy[n, : scored[n]].double(), entropy.double(), atol=1e-4, rtol=1e-4)
        assert (scores.logp[n, scored[n] :] == 0).all()
        loss = loss + (coefficient[n, : scored[n]] * logp).sum()
        loss = loss + 0.7 * (coefficient.flip(1)[n, : scored[n]] * whole).sum()
    for ours, theirs in zip(shared, torch.autograd.grad(loss, parameters), strict=True):
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm() + 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_shared_prompts(kind, tiny_model, plain_logits, texts):
    weights = FullWeights(tiny_model(kind), ["a"])
    model = weights.activate("a")
    policy = Policy(weights, "a", Answer(EOS))
    compare(weights, policy, model, policy.parameters(), plain_logits, texts)
    compare(weights, policy, model, policy.parameters(), plain_logits, texts, temperature=0.6, restricted=True)


@pytest.mark.parametrize("kind", ["llama", "gemma", "phi"])
def test_as_many_rows_as_prompts(kind, tiny_model, plain_logits, texts):
    prompts, _, rows = texts
    for prompt_of in ([2, 0, 1], [1, 1, 0]):  # a permutation, and one where a prompt is used twice
        weights = FullWeights(tiny_model(kind), ["a"])
        policy = Policy(weights, "a", Answer(EOS))
        case = (prompts, torch.tensor(prompt_of), rows[:3])
        compare(weights, policy, weights.activate("a"), policy.parameters(), plain_logits, case, temperature=1.3)
        compare(
            weights, policy, weights.activate("a"), policy.parameters(), plain_logits, case, scored=[1, 2, 4],
            restricted=True,
        )  # fmt: skip


def test_only_the_last_tokens_scored(tiny_model, plain_logits, texts):
    weights = FullWeights(tiny_model("qwen2"), ["a"])
    policy = Policy(weights, "a", Answer(EOS))
    for options in ({}, {"temperature": 0.7, "restricted": True}):
        compare(
            weights, policy, weights.activate("a"), policy.parameters(), plain_logits, texts,
            scored=[1, 3, 2, 3, 1, 4], **options,
        )  # fmt: skip


@pytest.mark.parametrize("num_rows", [3, 6])
def test_double_precision_is_closer(num_rows, tiny_model, plain_logits, texts):
    """In float64 what is left of the difference is the float32 of the norms, the rotations and the returned scores."""
    prompts, prompt_of, rows = texts
    weights = FullWeights(tiny_model("qwen3").double(), ["a"])
    model, policy = weights.activate("a"), Policy(weights, "a", Answer(EOS))
    scores = policy.logprobs(prompts, prompt_of[:num_rows], rows[:num_rows], list(map(len, rows[:num_rows])))
    shared = torch.autograd.grad(scores.logp.sum(), policy.parameters())
    loss = 0.0
    for n, p in enumerate(prompt_of.tolist()[:num_rows]):
        logp = torch.log_softmax(plain_logits(model, prompts[p], rows[n]), -1)[
            range(len(rows[n])), torch.tensor(rows[n])
        ]
        torch.testing.assert_close(scores.logp[n, : len(rows[n])].double(), logp, atol=1e-6, rtol=1e-6)
        loss = loss + logp.sum()
    for ours, theirs in zip(shared, torch.autograd.grad(loss, policy.parameters()), strict=True):
        assert (ours - theirs).norm() <= 1e-6 * theirs.norm()


@pytest.mark.parametrize("kind", ["llama", "phi"])
def test_lora_gradients_reach_only_the_trainable_adapter(kind, tiny_model, plain_logits, texts):
    config = LoraConfig(r=3, lora_alpha=6, target_modules="all-linear", lora_dropout=0.0)
    weights = LoraWeights(tiny_model(kind), ["a", "b"], config)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name in ("a", "b"):
            for parameter in weights.named(name).values():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    weights.set_trainable("a")
    policy, other = Policy(weights, "a", Answer(EOS)), Policy(weights, "b", Answer(EOS))
    model = weights.activate("a")
    compare(weights, policy, model, policy.parameters(), plain_logits, texts, temperature=0.8)

    prompts, prompt_of, rows = texts
    lengths = list(map(len, rows))
    ours = policy.logprobs(prompts, prompt_of, rows, lengths).logp
    with torch.no_grad():
        theirs = other.logprobs(prompts, prompt_of, rows, lengths).logp
    assert (ours - theirs).abs().max() > 0.1  # the two adapters differ
    ours.sum().backward()  # with the other adapter active by now
    got = {name for name, p in weights.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert got == {name for name, p in weights.named_parameters() if any(p is q for q in policy.parameters())}


@pytest.mark.parametrize("num_rows", [2, 3])
def test_the_padding_id_is_an_ordinary_token(num_rows, tiny_model, plain_logits):
    """Padding is 0 and so is the end token here: one inside a prompt or a row, and the last one, still count."""
    weights = FullWeights(tiny_model(), ["a"])
    prompts, rows = [(0, 5, 0), (7, 0)], [(0, 3, EOS), (9, EOS), (0, EOS)]
    policy, prompt_of = Policy(weights, "a", Answer(EOS)), torch.tensor([0, 1, 1])
    case = (prompts, prompt_of[:num_rows], rows[:num_rows])
    compare(weights, policy, weights.activate("a"), policy.parameters(), plain_logits, case)


def test_what_is_shared_passes_once(tiny_model, texts):
    """Prompts, and what rows of one prompt begin with; a row's last token is never read."""
    prompts, prompt_of, rows = texts
    policy = Policy(FullWeights(tiny_model(), ["a"]), "a", Answer(EOS))
    policy.logprobs(prompts, prompt_of, rows, list(map(len, rows)))
    assert policy.tokens == policy.gradient_tokens == sum(map(len, prompts)) + sum(len(row) - 1 for row in rows)
    with torch.no_grad():
        policy.logprobs(prompts, prompt_of, rows, list(map(len, rows)))
    assert policy.tokens == 2 * policy.gradient_tokens
    before = policy.tokens
    policy.logprobs([(5, 6)], torch.tensor([0, 0, 0]), [(7, 8, 9), (7, 8, 3, 4), (7, 2)], [3, 4, 2])
    assert policy.tokens - before == 2 + len({(7,), (7, 8), (7, 8, 3)})
