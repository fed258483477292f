"""The plain form asks the model alone: what a checkpoint says about generation stays out."""

import pytest
import torch
from transformers import GenerationConfig

from swirl_lightning.engine import GREEDY, PlainTexts, Sampling, SharedPrompts
from swirl_lightning.models import FullWeights, Policy
from swirl_lightning.types import Answer

EOS = 0
PROMPTS = [(5, 9, 3), (8,), (4, 4, 7, 30, 2, 19, 11)]
HOSTILE = {
    "repetition_penalty": 5.0,
    "no_repeat_ngram_size": 1,
    "suppress_tokens": list(range(1, 40)),
    "begin_suppress_tokens": list(range(20, 61)),
    "bad_words_ids": [[token] for token in range(1, 30)],
    "min_new_tokens": 6,
    "forced_eos_token_id": 7,
    "exponential_decay_length_penalty": (1, 3.0),
    "max_length": 2,
    "max_time": 0.0,
    "eos_token_id": list(range(61)),
    "sequence_bias": [[[3], 9.0]],
    "return_dict_in_generate": True,
    "output_logits": True,
    "use_cache": False,
    "cache_implementation": "static",
}


def sampled(model, engine, sampling):
    policy = Policy(FullWeights(model, ["a"]), "a", Answer(EOS), engine)
    return policy.generate(PROMPTS, [1, 2, 3], group_size=4, max_tokens=6, sampling=sampling)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.7, top_k=9), GREEDY], ids=str)
@pytest.mark.parametrize("name", [*HOSTILE, "all"])
def test_the_checkpoints_generation_config_does_not_reach_generation(name, sampling, tiny_model):
    model = tiny_model("qwen2")
    shared = sampled(model, SharedPrompts, sampling)
    own = HOSTILE if name == "all" else {name: HOSTILE[name]}
    model.generation_config = GenerationConfig()
    for key, value in own.items():  # not all of them pass the checks of the class together
        setattr(model.generation_config, key, value)
    plain = sampled(model, PlainTexts, sampling)
    assert plain.completions == shared.completions
    torch.testing.assert_close(plain.logp, shared.logp, atol=1e-4, rtol=1e-4)


def test_the_models_generation_config_stays_what_it_was(tiny_model):
    """An exported model keeps it."""
    model = tiny_model("qwen2")
    model.generation_config = own = GenerationConfig(repetition_penalty=5.0)
    weights = FullWeights(torch.nn.Module(), [])
    weights.activate = lambda name: model
    Policy(weights, "a", Answer(EOS), PlainTexts).generate(
        PROMPTS, [1, 2, 3], group_size=2, max_tokens=3, sampling=GREEDY
    )
    assert model.generation_config is own
