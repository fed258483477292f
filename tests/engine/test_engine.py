"""Every way texts pass through the model says the same: forms, pieces, micro-batches, halves."""

import logging

import peft
import pytest
import torch
from peft import LoraConfig

from swirl_lightning.engine import MicroBatchSizes, PlainTexts, Sampling, SharedPrompts, half_attention
from swirl_lightning.models import FullWeights, LoraWeights, Policy
from swirl_lightning.models.lora import FusedLora
from swirl_lightning.types import Answer

KINDS = ("llama", "qwen2", "qwen3", "gemma", "phi")
EOS = 0
PROMPTS = [(5, 9, 3, 8, 8, 21, 4), (8,), (4, 4, 7, 30, 2, 19, 11, 40, 3, 3, 17)]
PROMPT_OF = torch.tensor([0, 2, 0, 0, 2, 0, 0, 1, 0])
ROWS = [(6, 7, 8, 9), (1, 2), (6, 7, 3), (6, 7, 8, 2, 2), (1, 5, 5), (30,), (6, 7), (9, 9), (6, 7, 8, 9, 5)]
SCORED = [2, 2, 3, 1, 2, 1, 2, 2, 4]


def lora(model):
    """One adapter with weights that matter."""
    config = LoraConfig(r=3, lora_alpha=6, target_modules="all-linear", lora_dropout=0.0)
    weights = LoraWeights(model, ["a"], config)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in weights.named("a").values():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return weights


def accumulated(policy, **options):
    """Scores and gradient of a fixed sum over rows, as an update computes them."""
    generator = torch.Generator().manual_seed(4)
    coefficient = torch.randn(len(ROWS), max(SCORED), generator=generator)
    scores = torch.zeros(len(ROWS), max(SCORED))

    def loss(rows, part):
        width = part.logp.shape[1]
        return (coefficient[rows, :width] * part.logp).sum(), (rows, part)

    for p in policy.parameters():
        p.grad = None
    parts = policy.accumulate(PROMPTS, PROMPT_OF, ROWS, SCORED, loss, plain=True, **options)
    entropy = torch.zeros_like(scores)
    for rows, part in parts:
        scores[rows, : part.logp.shape[1]] = part.logp.detach()
        entropy[rows, : part.logp.shape[1]] = part.entropy
    gradient = torch.cat([p.grad.flatten() for p in policy.parameters()])
    return scores, entropy, gradient


def allowed(rollouts):
    """The ids that each token could have been."""
    return [{i for i in k.tolist() if i >= 0} for n in rollouts.support for k in n]


def assert_same(ours, theirs):
    for a, b in zip(ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert (ours[2] - theirs[2]).norm() <= 1e-4 * theirs[2].norm()


@pytest.mark.parametrize("kind", KINDS)
def test_forms_are_equal(kind, tiny_model):
    """The plain form, the cache form and the packed form with gradient checkpointing, for LoRA gradients."""
    weights = lora(tiny_model(kind))
    for temperature in (1.0, 0.7):
        plain = accumulated(Policy(weights, "a", Answer(EOS), PlainTexts), temperature=temperature)
        assert plain[2].norm() > 1
        assert_same(accumulated(Policy(weights, "a", Answer(EOS)), temperature=temperature), plain)
        weights.model.gradient_checkpointing_enable({"use_reentrant": False})
        assert_same(accumulated(Policy(weights, "a", Answer(EOS)), temperature=temperature), plain)
        weights.model.gradient_checkpointing_disable()


def test_fused_lora_is_pefts(tiny_model, monkeypatch):
    """Values and gradients of the layer that PEFT itself would use."""
    weights = lora(tiny_model("qwen2"))
    ours = accumulated(Policy(weights, "a", Answer(EOS)))
    assert sum(isinstance(module, FusedLora) for module in weights.modules()) == 14
    monkeypatch.setattr(FusedLora, "forward", peft.tuners.lora.Linear.forward)
    assert_same(ours, accumulated(Policy(weights, "a", Answer(EOS))))


def test_other_attention_implementations(tiny_model):
    """The eager one adds its mask to the scores."""
    weights = lora(tiny_model())
    expected = accumulated(Policy(weights, "a", Answer(EOS)))
    weights.model.set_attn_implementation("eager")
    assert_same(accumulated(Policy(weights, "a", Answer(EOS))), expected)
    weights.model.gradient_checkpointing_enable({"use_reentrant": False})
    assert_same(accumulated(Policy(weights, "a", Answer(EOS))), expected)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "phi"])
@pytest.mark.parametrize("most", [0, 150, 1 << 16])  # always the fused kernel, for long texts, never
def test_attention_of_half_precision(kind, most, tiny_model, monkeypatch):
    monkeypatch.setattr(half_attention, "MOST_SCORES", most)
    weights = lora(tiny_model(kind))
    policy = Policy(weights, "a", Answer(EOS))

    def everything():
        rollouts = policy.generate(PROMPTS, [1, 2, 3], group_size=3, max_tokens=5, sampling=Sampling())
        return rollouts, accumulated(policy)

    rollouts, expected = everything()
    weights.model.set_attn_implementation(half_attention.NAME)
    again, values = everything()
    assert_same(values, expected)
    assert again.completions == rollouts.completions
    torch.testing.assert_close(again.logp, rollouts.logp, atol=1e-4, rtol=1e-4)


def test_half_precision_on_a_cpu_attends_by_products(tiny_model):
    for model, name in ((tiny_model(), "sdpa"), (tiny_model().bfloat16(), half_attention.NAME)):
        half_attention.quicker_attention(model)
        assert model.config._attn_implementation == name
        by_hand = tiny_model().bfloat16()
        by_hand.set_attn_implementation("eager")
        half_attention.quicker_attention(by_hand)
        assert by_hand.config._attn_implementation == "eager"


def test_checkpointing_recomputes(tiny_model, monkeypatch):
    """The packed form really saves activations: layers run again in backward, and generation still uses its cache."""
    weights = lora(tiny_model())
    runs = []
    layer = type(weights.model.base_model.layers[0].mlp)
    monkeypatch.setattr(layer, "forward", lambda self, x, f=layer.forward: runs.append(x.shape[1]) or f(self, x))
    weights.model.gradient_checkpointing_enable({"use_reentrant": False})
    policy = Policy(weights, "a", Answer(EOS))
    accumulated(policy)
    assert len(runs) == 2 * len(weights.model.base_model.layers)
    runs.clear()
    policy.generate(PROMPTS[:1], [1], group_size=2, max_tokens=3, sampling=Sampling())
    assert max(runs[2:]) <= 2  # after the prompt one token of each row
    assert not any(layer.training for layer in weights.model.base_model.layers)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_micro_batches_change_nothing(size, checkpointing, tiny_model):
    weights = lora(tiny_model("qwen2"))
    if checkpointing:
        weights.model.gradient_checkpointing_enable({"use_reentrant": False})
    whole = Policy(weights, "a", Answer(EOS))
    split = Policy(weights, "a", Answer(EOS), sizes=MicroBatchSizes(size, size, size))
    assert_same(accumulated(split), accumulated(whole))
    with torch.no_grad():
        ours, theirs = (p.logprobs(PROMPTS, PROMPT_OF, ROWS, SCORED, plain=True) for p in (split, whole))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    samplings = (Sampling(), Sampling(0.8, 0.9, 12))
    for sampling in samplings:
        options = {"group_size": 4, "max_tokens": 6, "sampling": sampling}
        ours, theirs = (p.generate(PROMPTS, [1, 2, 3], **options) for p in (split, whole))
        assert ours.completions == theirs.completions
        assert torch.equal(ours.row_of, theirs.row_of)
        torch.testing.assert_close(ours.logp, theirs.logp, atol=1e-4, rtol=1e-4)
        if sampling.truncated:
            assert [{*k.tolist()} for n in ours.support for k in n] == [
                {*k.tolist()} for n in theirs.support for k in n
            ]


def test_a_large_groups_prompt_passes_once(tiny_model):
    """Also where its rows come in pieces, forward and backward: the tokens say so, and the gradient is whole."""
    weights = lora(tiny_model())
    whole, split = Policy(weights, "a", Answer(EOS)), Policy(weights, "a", Answer(EOS), sizes=MicroBatchSizes(update=2))
    rows = [(n, n + 1, 3) for n in range(10, 18)]
    gradients = []
    for policy in (whole, split):
        for p in policy.parameters():
            p.grad = None
        policy.accumulate(
            PROMPTS[2:], torch.zeros(8, dtype=torch.long), rows, [3] * 8, lambda _, part: (part.logp.sum(), None),
        )  # fmt: skip
        gradients.append(torch.cat([p.grad.flatten() for p in policy.parameters()]))
    assert whole.tokens == split.tokens == len(PROMPTS[2]) + 8 * 2
    assert (gradients[0] - gradients[1]).norm() <= 1e-5 * gradients[0].norm()


def test_out_of_memory_is_redone_in_halves(tiny_model, monkeypatch, caplog):
    """To the same numbers, even where the failed attempt had already left a part of the gradient behind."""
    weights = lora(tiny_model())
    expected = accumulated(Policy(weights, "a", Answer(EOS)))
    policy, calls = Policy(weights, "a", Answer(EOS)), []
    score = SharedPrompts.score

    def limited(self, prompt_of, rows, *args, **kwargs):
        calls.append(len(rows))
        if len(rows) > 6:
            parts = score(self, prompt_of, rows, *args, **kwargs)
            if torch.is_grad_enabled():
                parts.logp[0].sum().backward()  # backward began
            raise torch.OutOfMemoryError("no room")
        return score(self, prompt_of, rows, *args, **kwargs)

    monkeypatch.setattr(SharedPrompts, "score", limited)
    with caplog.at_level(logging.WARNING, "swirl_lightning"):
        assert_same(accumulated(policy), expected)
    assert calls == [9, 6, 3]
    assert "9 rows" in caplog.text
    assert "halves" in caplog.text
    with torch.no_grad():
        calls.clear()
        torch.testing.assert_close(
            policy.logprobs(PROMPTS, PROMPT_OF, ROWS, SCORED).logp, expected[0], atol=1e-4, rtol=1e-4
        )
        assert calls == [9, 6, 3]

    monkeypatch.setattr(SharedPrompts, "score", lambda *a, **k: (_ for _ in ()).throw(torch.OutOfMemoryError("no")))
    with pytest.raises(torch.OutOfMemoryError):
        accumulated(policy)


def test_generation_out_of_memory(tiny_model, monkeypatch):
    policy = Policy(lora(tiny_model()), "a", Answer(EOS))
    options = {"group_size": 5, "max_tokens": 4, "sampling": Sampling()}
    expected = policy.generate(PROMPTS[:1], [3], **options)
    sample, calls = SharedPrompts.sample, []

    def limited(self, prompt_of, *args):
        calls.append(len(prompt_of))
        if len(prompt_of) > 3:
            raise torch.OutOfMemoryError("no room")
        return sample(self, prompt_of, *args)

    monkeypatch.setattr(SharedPrompts, "sample", limited)
    assert policy.generate(PROMPTS[:1], [3], **options).completions == expected.completions
    assert calls == [5, 2, 3]


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.7, 0.9), Sampling(top_k=3)])
def test_the_plain_form_draws_the_same(sampling, tiny_model):
    weights = FullWeights(tiny_model("gemma"), ["a"])
    options = {"group_size": 5, "max_tokens": 6, "sampling": sampling}
    ours, theirs = (
        Policy(weights, "a", Answer(EOS), engine).generate(PROMPTS, [1, 2, 3], **options)
        for engine in (SharedPrompts, PlainTexts)
    )
    assert ours.completions == theirs.completions
    assert torch.equal(ours.row_of, theirs.row_of)
    torch.testing.assert_close(ours.logp, theirs.logp, atol=1e-4, rtol=1e-4)
    if sampling.truncated:
        assert allowed(ours) == allowed(theirs)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side(side, tiny_model):
    """Against the model on a padded batch with its attention mask, as other libraries feed it."""
    model = tiny_model("qwen3")
    texts = [(*PROMPTS[p], *row) for p, row in zip(PROMPT_OF.tolist(), ROWS, strict=True)]
    width = max(map(len, texts))
    ids, mask = torch.zeros(2, len(texts), width, dtype=torch.long)
    for n, text in enumerate(texts):
        place = slice(width - len(text), width) if side == "left" else slice(0, len(text))
        ids[n, place], mask[n, place] = torch.tensor(text), 1
    with torch.no_grad():
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logp = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits.log_softmax(-1)
        ours = Policy(FullWeights(model, ["a"]), "a", Answer(EOS)).logprobs(PROMPTS, PROMPT_OF, ROWS, SCORED).logp
    for n, text in enumerate(texts):
        end = width if side == "left" else len(text)
        for t in range(SCORED[n]):
            at = end - SCORED[n] + t
            assert ours[n, t].item() == pytest.approx(logp[n, at - 1, ids[n, at]].item(), abs=1e-4)
