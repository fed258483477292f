"""Embeddings that are sums over a cell's place and its code, against a loop; and the same model without them."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from swirl_lightning.engine.continuation import SharedPrompts
from swirl_lightning.engine.plain import PlainTexts
from swirl_lightning.models import FullWeights, Policy
from swirl_lightning.models.places import add_places, without_places
from swirl_lightning.types import Answer

FIRST, ROWS, COLUMNS, CODES, AFTER, WIDTH = 7, 2, 3, 4, 2, 16
VOCABULARY = FIRST + ROWS * COLUMNS * CODES + AFTER


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            tie_word_embeddings=True, bos_token_id=None, eos_token_id=0, initializer_range=0.3,
        )
    )  # fmt: skip
    add_places(made, FIRST, ROWS, COLUMNS, CODES)
    return made.eval()


def naive(embedding, i):
    vector = embedding.own[i]
    if FIRST <= i < VOCABULARY - AFTER:
        place, code = divmod(i - FIRST, CODES)
        vector = vector + embedding.row[place // COLUMNS] + embedding.column[place % COLUMNS] + embedding.code[code]
    return vector


def test_sums(model):
    """Values, the ids of text and of the end included, and gradients, float32, to 1e-6."""
    embedding = model.get_input_embeddings()
    expected = torch.stack([naive(embedding, i) for i in range(VOCABULARY)])
    torch.testing.assert_close(embedding.weight, expected, rtol=0, atol=1e-6)
    ids = torch.tensor([0, FIRST, VOCABULARY - AFTER - 1, VOCABULARY - 1, FIRST + CODES])
    parameters, bend = list(embedding.parameters()), torch.randn(len(ids), WIDTH)
    found = torch.autograd.grad((embedding(ids) * bend).sum(), parameters)
    wanted = torch.autograd.grad((expected[ids] * bend).sum(), parameters)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    assert {name for name, _ in embedding.named_parameters()} == {"own", "row", "column", "code"}


def test_the_head_is_the_embedding(model):
    hidden = torch.randn(3, WIDTH)
    torch.testing.assert_close(model.lm_head(hidden), hidden @ model.get_input_embeddings().weight.T)
    assert [name for name, _ in model.named_parameters() if "head" in name] == []


def test_a_plain_model_says_the_same(model, tmp_path):
    """Written out, saved and loaded by transformers alone; the model itself stays as it is."""
    ids = torch.arange(VOCABULARY)[None]
    expected = model(input_ids=ids).logits
    FullWeights(model, ["fwm"]).export("fwm", tmp_path)
    loaded = LlamaForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(input_ids=ids).logits, expected, rtol=0, atol=1e-5)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    torch.testing.assert_close(model(input_ids=ids).logits, expected)
    assert without_places(loaded) is loaded


def test_both_forms_of_the_engine_agree(model):
    """Log-probs and gradients of places, codes and layers, over the head rows of the pictures alone; float32, 1e-5."""
    answer = Answer(allowed=(FIRST, VOCABULARY - AFTER - 1), length=3)
    prompts, rows = [(1, 9, 12), (2, 20)], [(8, 13, 17), (8, 14, 17), (30, 9, 11)]
    found = []
    for engine in (SharedPrompts, PlainTexts):
        weights = FullWeights(model, ["fwm"])
        policy = Policy(weights, "fwm", answer, engine)
        logp = policy.logprobs(prompts, torch.tensor([0, 0, 1]), rows, [3, 3, 3]).logp
        logp.sum().backward()
        found.append((logp.detach(), {name: p.grad for name, p in weights.named("fwm").items()}))
    torch.testing.assert_close(*(logp for logp, _ in found), rtol=0, atol=1e-5)
    torch.testing.assert_close(*(grads for _, grads in found), rtol=1e-5, atol=1e-5)
    assert found[0][1]["model.embed_tokens.row"].abs().max() > 1e-3
