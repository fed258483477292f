"""Shapes known without weights: their parameters are those of the real models."""

import socket

import numpy as np
import pytest

from swirl_lightning.plan.counts import Counts
from swirl_lightning.plan.shapes import KNOWN, Shape, config_shape, shape_of
from swirl_lightning.types import InputError

# as the hub gives them for the weights themselves
PARAMETERS = {
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M-Instruct": 361_821_120,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1_711_376_384,
    "google/gemma-2b-it": 2_506_172_416,
    "Junfeng5/Liquid_V1_7B": 8_537_680_896 + 8192 * 3072,  # Gemma 7B's, and the vectors of the codes of pictures
}


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_known_models_need_no_network(offline):
    assert {name: shape_of(name).parameters for name in PARAMETERS} == PARAMETERS
    assert len(PARAMETERS) == len(KNOWN)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma", "phi"])
def test_a_configuration_tells_the_parameters(kind, tiny_model, tmp_path):
    model = tiny_model(kind)
    assert config_shape(model.config).parameters == model.num_parameters()
    model.config.save_pretrained(tmp_path)
    assert shape_of(str(tmp_path)) == config_shape(model.config)


def test_adapters_have_the_parameters_of_peft(tiny_model):
    from peft import LoraConfig, get_peft_model

    model = tiny_model("qwen2")
    adapted = get_peft_model(model, LoraConfig(r=3, target_modules="all-linear"))
    trained = sum(p.numel() for name, p in adapted.named_parameters() if "lora_" in name)
    assert config_shape(model.config).lora_parameters(3) == trained


def write_gguf(folder, tensors):
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(str(folder / "tiny.gguf"), "qwen2")
    writer.add_block_count(3)
    writer.add_embedding_length(16)
    writer.add_feed_forward_length(24)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    for name, shape in tensors.items():
        writer.add_tensor(name, np.zeros(shape, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


GGUF = {
    "token_embd.weight": (50, 16), "output.weight": (50, 16), "blk.0.ffn_gate.weight": (24, 16),
    "blk.0.attn_norm.weight": (16,), "blk.0.attn_q.bias": (16,),
}  # fmt: skip


def test_a_gguf_header_tells_the_shape(tmp_path):
    write_gguf(tmp_path, GGUF)
    assert shape_of(str(tmp_path)) == Shape(50, 16, 24, 3, 4, 2, 4, tied=False, qkv_bias=True)


def test_a_gguf_file_of_another_kind_is_counted(tmp_path):
    write_gguf(tmp_path, GGUF | {"blk.0.ffn_gate_exps.weight": (4, 24, 16)})
    linear, others = 24 * 16, 2 * 50 * 16 + 16 + 16 + 4 * 24 * 16
    assert shape_of(str(tmp_path)) == Counts(linear, others, 24 + 16)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\xff" * 200, b"no such file" * 9])
def test_a_damaged_gguf_file_is_refused_in_a_line(content, tmp_path):
    pytest.importorskip("gguf")
    (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.base\.name: .*a\.gguf is no readable GGUF file") as caught:
        shape_of(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_an_unknown_name_is_told(offline, tmp_path):
    with pytest.raises(InputError, match=r"model\.base\.name.*config\.json"):
        shape_of(str(tmp_path / "nothing"))
