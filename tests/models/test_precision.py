"""Number formats: what is chosen, what adapters compute in, and rewards scored in float32 on a bfloat16 base."""

import copy

import pytest
import torch
from peft import LoraConfig
from torch import nn

from swirl_lightning.models import FullWeights, LoraWeights
from swirl_lightning.models.precision import AdapterLinear, choose_dtype

KINDS = ("llama", "qwen2", "qwen3", "gemma", "phi")
IDS = torch.arange(1, 41).view(2, 20)


def lora_on(model):
    weights = LoraWeights(model, ["fwm", "idm"], LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    weights.requires_grad_(False)
    return weights


@pytest.mark.parametrize(
    ("capabilities", "dtype", "reason"),
    [
        ({"avx512_bf16": True}, torch.bfloat16, "has avx512_bf16"),
        ({"amx_bf16": True, "avx512_bf16": True}, torch.bfloat16, "has amx_bf16"),
        ({"bf16": True}, torch.bfloat16, "has bf16"),
        ({"avx2": True, "avx512_bf16": False}, torch.float32, "no bfloat16 instructions"),
    ],
)
def test_auto_on_a_processor(capabilities, dtype, reason, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    chosen, why = choose_dtype("auto", torch.device("cpu"))
    assert chosen == dtype
    assert reason in why


@pytest.mark.parametrize(("has", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_auto_on_a_gpu(has, dtype, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    assert choose_dtype("auto", torch.device("cuda", 0))[0] == dtype


def test_a_dtype_that_is_named_is_taken():
    assert choose_dtype("float16", torch.device("cpu"))[0] == torch.float16


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16])
def test_an_adapter_follows_its_input(stored, given):
    torch.manual_seed(0)
    linear = nn.Linear(16, 4, bias=False)
    adapter = AdapterLinear.of(linear, stored)
    x = torch.randn(5, 16, dtype=given, requires_grad=True)
    y = adapter(x)
    assert y.dtype == given
    y.sum().backward()
    assert adapter.weight.grad.dtype == stored
    torch.testing.assert_close(y.float(), linear(x.float()), atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_scoring_is_that_of_a_float32_model(kind, tiny_model):
    """To the last bit but for the order of sums: the weights are bfloat16, and nothing else is rounded to it."""
    half = lora_on(tiny_model(kind).bfloat16())
    full = copy.deepcopy(half)
    full.model.float()
    embedding = half.model.get_input_embeddings()  # its products with a constant, which some have, stay bfloat16
    full.model.get_input_embeddings().register_forward_hook(lambda module, args, output: embedding(*args).float())
    before = {name: (p.data_ptr(), p.dtype) for name, p in half.named_parameters()}
    for name in ("fwm", "idm", "fwm"):
        expected = full.activate(name)(IDS).logits
        plain = half.activate(name)(IDS).logits
        with half.scoring_precision():
            logits = half.activate(name)(IDS).logits
        assert logits.dtype == torch.float32
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
        assert (plain.float() - expected).abs().max() > 1e-3
        assert torch.equal(half.activate(name)(IDS).logits, plain)  # and all is as it was
    assert {name: (p.data_ptr(), p.dtype) for name, p in half.named_parameters()} == before


def test_scoring_shares_a_prefix(tiny_model):
    """Keys and values of a prompt may be computed in it and used in it."""
    half = lora_on(tiny_model().bfloat16())
    model = half.activate("fwm")
    with half.scoring_precision():
        whole = model(IDS).logits
        cache = model(IDS[:, :12], use_cache=True).past_key_values
        rest = model(IDS[:, 12:], past_key_values=cache).logits
    torch.testing.assert_close(rest, whole[:, 12:], atol=1e-5, rtol=1e-5)


def test_scoring_has_no_gradient(tiny_model):
    half = lora_on(tiny_model().bfloat16())
    half.set_trainable("fwm")
    with half.scoring_precision():
        assert not half.activate("fwm")(IDS).logits.requires_grad
    assert half.activate("fwm")(IDS).logits.requires_grad


def test_a_failure_while_scoring_leaves_the_model_as_it_was(tiny_model):
    half = lora_on(tiny_model().bfloat16())
    model = half.activate("fwm")
    plain = model(IDS).logits
    precision = torch.get_float32_matmul_precision()
    attention = model.base_model.layers[1].self_attn
    handle = attention.q_proj.base_layer.register_forward_hook(lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError), half.scoring_precision():
        model(IDS)
    handle.remove()
    assert {p.dtype for name, p in model.named_parameters() if "lora_" not in name} == {torch.bfloat16}
    assert torch.equal(model(IDS).logits, plain)
    assert torch.get_float32_matmul_precision() == precision


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_float32_models_are_scored_as_they_are(kind, tiny_model):
    weights = FullWeights(tiny_model(), ["fwm"]) if kind == "full" else lora_on(tiny_model())
    plain = weights.activate("fwm")(IDS).logits
    with weights.scoring_precision():
        assert torch.equal(weights.activate("fwm")(IDS).logits, plain)
