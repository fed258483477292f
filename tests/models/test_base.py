"""Where models come from: built from scratch, or loaded from a folder with adapters on top."""

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedTokenizerFast

from swirl_lightning.models import PretrainedLM, ScratchLM
from swirl_lightning.types import InputError

MARKERS = ("State:\n", "\nAction:", "\nChange:\n")
CORPUS = [" door open\n lamp on", " make door open", " make lamp off"] * 3
SCRATCH = {"hidden_size": 32, "vocab_size": 280}


def test_scratch_tokenizer():
    base = ScratchLM(**SCRATCH)
    tokenizer = base.tokenizer(CORPUS, MARKERS)
    assert len(tokenizer) <= 280
    assert [len(tokenizer.encode(marker)) for marker in MARKERS] == [1, 1, 1]
    text = " door open\n never seen: ünï©ode \t\x00 🙂"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    restored = base.restore_tokenizer(tokenizer.backend_tokenizer.to_str())
    assert restored.encode(text) == ids
    assert restored.eos_token_id == tokenizer.eos_token_id


def test_scratch_weights():
    base = ScratchLM(**SCRATCH, num_layers=3)
    tokenizer = base.tokenizer(CORPUS, MARKERS)
    weights = base.weights(tokenizer, ["fwm", "idm"])
    assert weights.activate("fwm") is not weights.activate("idm")
    assert weights.activate("fwm").config.num_hidden_layers == 3
    for a, b in zip(weights.named("fwm").values(), weights.named("idm").values(), strict=True):
        assert torch.equal(a, b)  # both roles start as one model


@pytest.mark.parametrize(
    ("sizes", "option"),
    [({"hidden_size": 36}, "hidden_size"), ({"num_heads": 3}, "hidden_size"), ({"vocab_size": 259}, "vocab_size")],
)
def test_sizes_that_make_no_model_are_refused(sizes, option):
    with pytest.raises(InputError, match=rf"model\.base\.{option}: {sizes.get(option, 64)}"):
        ScratchLM(**sizes)


@pytest.fixture
def folder(tmp_path, tiny_model):
    """A tiny model with its tokenizer, saved as Hugging Face saves them."""
    scratch = ScratchLM(**SCRATCH).tokenizer(CORPUS, MARKERS)
    scratch.save_pretrained(tmp_path)
    model = tiny_model("qwen2")
    model.resize_token_embeddings(280)
    model.save_pretrained(tmp_path)
    return tmp_path, model


def test_pretrained_folder(folder):
    path, model = folder
    base = PretrainedLM(str(path), lora_rank=3, lora_alpha=6.0)
    tokenizer = base.tokenizer([], MARKERS)
    weights = base.weights(tokenizer, ["fwm", "idm"])
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        torch.testing.assert_close(weights.activate("fwm")(ids).logits, model(ids).logits)
    targets = {key.rsplit(".lora_", 1)[0].rsplit(".", 1)[-1] for key in weights.named("fwm")}
    assert targets == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {min(p.shape) for p in weights.named("fwm").values()} == {3}


def test_dtype_of_the_base(folder):
    base = PretrainedLM(str(folder[0]), dtype="bfloat16")
    model = base.weights(base.tokenizer([], MARKERS), ["fwm"]).activate("fwm")
    assert model.get_input_embeddings().weight.dtype == torch.bfloat16


def test_a_model_that_transforms_its_logits_is_refused(folder):
    path, _ = folder
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=280, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, initializer_range=1.0, final_logit_softcapping=3.0,
    )  # fmt: skip
    Gemma2ForCausalLM(config).save_pretrained(path)
    base = PretrainedLM(str(path))
    with pytest.raises(InputError, match="soft-capping"):
        base.weights(base.tokenizer([], MARKERS), ["fwm"])


def test_a_tokenizer_without_end_token_is_refused(folder):
    path, _ = folder
    tokenizer = PreTrainedTokenizerFast.from_pretrained(path)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(path)
    with pytest.raises(InputError, match="no end-of-text token"):
        PretrainedLM(str(path)).tokenizer([], MARKERS)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"model\.base\.name: cannot load"):
        PretrainedLM(str(tmp_path)).tokenizer([], MARKERS)


def test_two_gguf_files_are_refused(tmp_path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"2 GGUF files \(a\.gguf, b\.gguf\)"):
        PretrainedLM(str(tmp_path)).tokenizer([], MARKERS)
