import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    LlamaConfig,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
)

VOCABULARY = 61
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.25,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": None,
}
CONFIGS = {
    "llama": lambda: LlamaConfig(**SHAPE, num_key_value_heads=2),
    "qwen2": lambda: Qwen2Config(**SHAPE, num_key_value_heads=2, tie_word_embeddings=True),
    "qwen3": lambda: Qwen3Config(**SHAPE, num_key_value_heads=1, head_dim=16),
    "gemma": lambda: GemmaConfig(**SHAPE, num_key_value_heads=1, head_dim=8),
    "phi": lambda: PhiConfig(**SHAPE, num_key_value_heads=2),
}


@pytest.fixture
def tiny_model():
    """Makes a random model of a kind, with biases and norms that are not the neutral ones of a fresh model."""

    def make(kind="llama", seed=0):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(CONFIGS[kind]()).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return model

    return make


@pytest.fixture
def plain_logits():
    """The whole text through the Hugging Face model, by itself: logits that predict each token after the prompt."""

    def compute(model, prompt, row):
        logits = model(input_ids=torch.tensor([prompt + row])).logits[0]
        return logits[len(prompt) - 1 : -1]

    return compute


@pytest.fixture
def texts():
    """Ragged prompts and ragged rows; prompts 0 and 2 have several rows, prompt 1 has one."""
    generator = torch.Generator().manual_seed(3)

    def ids(length):
        return tuple(torch.randint(1, VOCABULARY, (length,), generator=generator).tolist())

    prompts = [ids(5), ids(11), ids(1)]
    prompt_of = torch.tensor([0, 2, 0, 1, 2, 0])
    rows = [ids(n) for n in (1, 4, 7, 3, 2, 5)]
    return prompts, prompt_of, rows
