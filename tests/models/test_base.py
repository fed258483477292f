"""Where models come from: built from scratch, or loaded from a folder with adapters on top."""

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from swirl_lightning.codecs import CodecForm, Layout
from swirl_lightning.models import PretrainedLM, ScratchLM
from swirl_lightning.types import InputError

MARKERS = ("State:\n", "\nAction:", "\nChange:\n")
CORPUS = [" door open\n lamp on", " make door open", " make lamp off"] * 3
FORM = CodecForm({"": Layout()}, "delta", 100)
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
    codec = base.codec(CORPUS, FORM)
    weights = base.weights(codec, ["fwm", "idm"])
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


def loaded(path, **options):
    base = PretrainedLM(str(path), **options)
    return base.weights(base.codec([], FORM), ["fwm", "idm"])


def test_pretrained_folder(folder):
    path, model = folder
    weights = loaded(path, dtype="float32", lora_rank=3, lora_alpha=6.0)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        torch.testing.assert_close(weights.activate("fwm")(ids).logits, model(ids).logits)
    targets = {key.rsplit(".lora_", 1)[0].rsplit(".", 1)[-1] for key in weights.named("fwm")}
    assert targets == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {min(p.shape) for p in weights.named("fwm").values()} == {3}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("adapters", [torch.float32, torch.bfloat16])
def test_dtypes(dtype, adapters, folder):
    weights = loaded(folder[0], dtype=str(dtype).split(".")[1], adapter_dtype=str(adapters).split(".")[1])
    model = weights.activate("fwm")
    assert {p.dtype for p in weights.named("fwm").values()} == {adapters}
    own = {id(p) for name in weights.names for p in weights.named(name).values()}
    assert {p.dtype for p in model.parameters() if id(p) not in own} == {dtype}
    seen = set()
    adapter = model.base_model.layers[0].mlp.up_proj.lora_A["fwm"]
    adapter.register_forward_hook(lambda module, args, output: seen.update((args[0].dtype, output.dtype)))
    logits = model(torch.tensor([[5, 6, 7]])).logits
    assert logits.dtype == dtype
    assert seen == {dtype}  # PEFT would cast the input to the adapter's dtype, and keep it
    logits.float().logsumexp(-1).sum().backward()
    assert {p.grad.dtype for p in weights.named("fwm").values()} == {adapters}


def test_auto_takes_the_processors_dtype(folder, monkeypatch):
    for capabilities, dtype in (({"avx512_bf16": True}, torch.bfloat16), ({"avx512_f": True}, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found, raising=False)
        assert loaded(folder[0]).activate("fwm").get_input_embeddings().weight.dtype == dtype


def test_gradient_checkpointing_waits_for_training_mode(folder):
    """The engine switches layers to training mode for one pass; in any other they keep their cache."""
    assert not loaded(folder[0]).gradient_checkpointing
    weights = loaded(folder[0], dtype="float32", gradient_checkpointing=True)
    assert weights.gradient_checkpointing
    model, ids = weights.activate("fwm"), torch.tensor([[5, 6, 7]])
    layers = model.base_model.layers
    assert all(layer.gradient_checkpointing for layer in layers)
    assert model(ids, use_cache=True).past_key_values.get_seq_length() == 3
    runs = []
    layers[0].mlp.register_forward_pre_hook(lambda *args: runs.append(0))
    gradients = []
    for training in (False, True):
        for layer in layers:
            layer.training = training
        model(ids, use_cache=False).logits.logsumexp(-1).sum().backward()
        gradients.append([p.grad.clone() for p in weights.named("fwm").values()])
        model.zero_grad()
    assert len(runs) == 1 + 2
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_a_quantised_gguf_file_is_refused(tmp_path):
    (tmp_path / "a.gguf").touch()
    with pytest.raises(InputError, match=r"model\.base\.quantize: nf4 with the GGUF file a\.gguf"):
        PretrainedLM(str(tmp_path), quantize="nf4").weights(None, ["fwm"])


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


def usable():
    """Whether bitsandbytes quantises on this machine's processor."""
    try:
        import bitsandbytes

        bitsandbytes.functional.quantize_4bit(torch.randn(64, 64), quant_type="nf4", compress_statistics=True)
        bitsandbytes.functional.int8_vectorwise_quant(torch.randn(4, 64).half())
    except Exception:  # what is missing fails in many ways
        return False
    return True


on_quantised = pytest.mark.skipif(not usable(), reason="bitsandbytes does not run on this processor")
quantised = pytest.mark.parametrize("quantize", ["nf4", "int8"])
IDS = torch.arange(1, 41).view(2, 20)


def tensors(model):
    """Where every tensor of a model lies, those of quantisation included."""
    found = dict(model.named_parameters())
    for name, parameter in model.named_parameters():
        parts = {key: getattr(parameter, key, None) for key in ("CB", "SCB")}
        if hasattr(parameter, "quant_state"):
            parts |= vars(parameter.quant_state) | {"second": parameter.quant_state.state2.absmax}
        found |= {f"{name}.{key}": x for key, x in parts.items() if torch.is_tensor(x)}
    return {name: (x.data_ptr(), x.device, x.dtype) for name, x in found.items()}


def mean_logp(model):
    logits = model(IDS).logits[:, :-1].float()
    return logits.log_softmax(-1).gather(2, IDS[:, 1:, None]).mean()


@on_quantised
@quantised
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_quantised_base_learns(quantize, dtype, folder):
    path, original = folder
    torch.manual_seed(0)
    weights = loaded(path, quantize=quantize, dtype=dtype)
    kinds = {type(module.base_layer).__name__ for module in weights.model.modules() if hasattr(module, "base_layer")}
    assert kinds == {{"nf4": "Linear4bit", "int8": "Linear8bitLt"}[quantize]}
    weights.set_trainable("idm")
    model = weights.activate("idm")
    with torch.no_grad():
        before = float(mean_logp(model))
        assert before == pytest.approx(float(mean_logp(original)), abs=1.0)
    optimizer = torch.optim.SGD(weights.named("idm").values(), 0.01)
    for _ in range(2):
        optimizer.zero_grad()
        loss = -mean_logp(model)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert float(mean_logp(model)) > before
        assert float(mean_logp(weights.activate("fwm"))) == pytest.approx(before, abs=1e-3)


@on_quantised
@quantised
def test_using_a_quantised_base_moves_no_tensor(quantize, folder):
    weights = loaded(folder[0], quantize=quantize, dtype="bfloat16")
    before = tensors(weights.model)
    assert len(before) > len(list(weights.parameters()))
    weights.set_trainable("fwm")
    for name in ("idm", "fwm", "", "idm"):
        with torch.no_grad():
            mean_logp(weights.activate(name))
        with weights.scoring_precision():
            mean_logp(weights.activate(name))
    mean_logp(weights.activate("fwm")).backward()
    assert tensors(weights.model) == before


@on_quantised
@quantised
def test_gradients_are_whole_after_a_pass_without(quantize, folder):
    """bitsandbytes would pack 4-bit weights for such a pass, in a form that gradients do not pass through."""

    def gradient(passes):
        torch.manual_seed(0)
        weights = loaded(folder[0], quantize=quantize, dtype="bfloat16")
        model = weights.activate("fwm")
        for name, parameter in weights.named("fwm").items():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        with torch.no_grad():
            for _ in range(passes):
                model(IDS)
        mean_logp(model).backward()
        return torch.cat([p.grad.flatten() for p in weights.named("fwm").values()])

    fresh, used = gradient(0), gradient(2)
    assert fresh.norm() > 0
    torch.testing.assert_close(used, fresh)


@on_quantised
@quantised
def test_a_quantised_base_is_scored_in_float32(quantize, folder):
    """As a float32 model with the weights that the quantised ones stand for."""
    half = loaded(folder[0], quantize=quantize, dtype="bfloat16")
    plain = half.activate("fwm")(IDS).logits.float()
    with half.scoring_precision():
        scored = half.activate("fwm")(IDS).logits
        cache = half.activate("fwm")(IDS[:, :7], use_cache=True).past_key_values
        rest = half.activate("fwm")(IDS[:, 7:], past_key_values=cache).logits
    for module in half.model.modules():
        if hasattr(module, "base_layer"):
            weight, bias = module.base_layer.weight, module.base_layer.bias
            wide = torch.nn.Linear(module.in_features, module.out_features)
            wide.weight.data, wide.bias = widened(weight), bias
            module.base_layer = wide
    expected = torch.nn.Module.float(half.activate("fwm"))(IDS).logits
    torch.testing.assert_close(scored, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rest, expected[:, 7:], atol=1e-4, rtol=1e-4)
    assert (plain - expected).abs().max() > 1e-2


def widened(weight):
    if hasattr(weight, "SCB"):
        return weight.data.float() * weight.SCB[:, None] / 127
    import bitsandbytes

    weight.quant_state.dtype = torch.float32
    return bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state)


@on_quantised
def test_int8_is_a_linear_map_of_rounded_weights(folder):
    """Values and gradients are those of the weights that the integers stand for, whatever else is in the batch."""
    torch.manual_seed(0)
    layer = loaded(folder[0], quantize="int8", dtype="float32").model.base_model.layers[0].mlp.up_proj.base_layer
    wide = widened(layer.weight)
    x = torch.randn(2, 5, wide.shape[1])
    x[0, 0] *= 50  # LLM.int8() would treat the columns of such an outlier apart
    ours, theirs = (x.clone().requires_grad_() for _ in range(2))
    y, expected = layer(ours), theirs @ wide.T
    torch.testing.assert_close(y, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(y[1], layer(x[1]))
    grad = torch.randn_like(y)
    y.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-4, rtol=1e-4)
