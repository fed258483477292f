"""Which models share prompts, and what is said of the others."""

import logging

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GenerationConfig,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    Qwen2Config,
)

from swirl_lightning.engine import PlainTexts, Sampling, SharedPrompts
from swirl_lightning.engine.sharing import choose_engine, why_plain
from swirl_lightning.models import FullWeights, Policy
from swirl_lightning.types import Answer

SHAPE = {
    "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.25, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": None,
}  # fmt: skip
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
PLAIN = {
    "slides over 16 tokens": (MistralConfig(**SHAPE, sliding_window=16), 20),
    "slides over 8 tokens": (Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=8, max_window_layers=0), 20),
    "dynamic position": (LlamaConfig(**SHAPE, rope_parameters=DYNAMIC), 20),
    "soft-capped": (Gemma2Config(**SHAPE, head_dim=8, final_logit_softcapping=2.0), 20),
    "soft-capped logits, or": (GraniteConfig(**SHAPE, logits_scaling=3.0), 20),
    "keys and values (ValueError": (
        BloomConfig(vocab_size=61, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.25), 20
    ),
    "cache of keys and values": (
        MambaConfig(vocab_size=61, hidden_size=32, num_hidden_layers=2, state_size=4, pad_token_id=0), 20
    ),
}  # fmt: skip
SHARED = {
    "mistral within its window": (MistralConfig(**SHAPE, sliding_window=16), 16),
    "qwen2 with its window off": (Qwen2Config(**SHAPE, use_sliding_window=False, sliding_window=8), 20),
    "learned positions": (GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=4, initializer_range=0.25), 20),
}


SETTINGS = [
    {"repetition_penalty": 5.0},
    {"suppress_tokens": list(range(1, 40))},
    {"min_new_tokens": 4},
    {"temperature": 0.1, "top_k": 2, "do_sample": True},
    {"num_beams": 3},
    {"max_length": 3},
    {"forced_eos_token_id": 7, "no_repeat_ngram_size": 1},
]


def model_of(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("reason", PLAIN)
def test_falls_back_with_one_line(reason, caplog):
    config, longest = PLAIN[reason]
    model = model_of(config)
    with caplog.at_level(logging.WARNING, "swirl_lightning"):
        assert choose_engine(model, longest) is PlainTexts
    (record,) = [r for r in caplog.records if r.name.startswith("swirl_lightning")]
    assert reason in record.getMessage()
    # and the plain form is the model's own: what is sampled has the log-probs that the model gives it
    policy = Policy(FullWeights(model, ["a"]), "a", Answer(0), PlainTexts)
    rollouts = policy.generate([(5, 9, 3), (8,)], [1, 2], group_size=3, max_tokens=4, sampling=Sampling())
    for n, p in enumerate(rollouts.prompt_of.tolist()):
        row = rollouts.ids[n, rollouts.mask[n]]
        prompt = torch.tensor(rollouts.prompts[p])
        with torch.no_grad():
            logp = model(input_ids=torch.cat([prompt, row])[None]).logits[0].float().log_softmax(-1)
        expected = logp[len(prompt) - 1 : -1].gather(1, row[:, None])[:, 0]
        torch.testing.assert_close(rollouts.logp[n, : len(row)], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SHARED)
def test_shares_where_it_can(name):
    config, longest = SHARED[name]
    assert why_plain(model_of(config), longest) is None
    assert choose_engine(model_of(config), longest) is SharedPrompts
    assert choose_engine(model_of(config), longest, "plain") is PlainTexts


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "+".join(settings))
def test_a_checkpoints_settings_for_generation_reach_no_sample(settings):
    """They bent what the plain form drew and its log-probs, by up to 7 nats."""
    model = model_of(LlamaConfig(**SHAPE))
    prompts, seeds = [(5, 9, 3), (8,)], [1, 2]

    def drawn(engine):
        policy = Policy(FullWeights(model, ["a"]), "a", Answer(0), engine)
        return policy.generate(prompts, seeds, group_size=4, max_tokens=6, sampling=Sampling())

    expected = drawn(SharedPrompts)
    model.generation_config = GenerationConfig(**settings)
    found = drawn(PlainTexts)
    assert found.completions == expected.completions
    assert torch.equal(found.row_of, expected.row_of)
    torch.testing.assert_close(found.logp, expected.logp, atol=1e-4, rtol=1e-4)
