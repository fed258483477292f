"""benchmarks/decoding.py on a tiny model, and without a GPU."""

import json
import sys
from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import decoding


def test_both_steps_are_timed_and_compared():
    config = Qwen2Config(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1,
    )  # fmt: skip
    found = decoding.compare(Qwen2ForCausalLM(config).eval(), {"prompt": 12, "group": 3, "tokens": 5}, repeats=1)
    assert found["same_tokens"] == 1
    assert found["speedup"] == found["eager"]["seconds"] / found["recorded"]["seconds"]
    assert found["eager"]["tokens_per_second"] == pytest.approx(15 / found["eager"]["seconds"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here: the points would be measured")
def test_without_a_gpu_it_says_what_it_skipped(tmp_path, monkeypatch, capsys):
    out = tmp_path / "decoding.json"
    monkeypatch.setattr(sys, "argv", ["decoding.py", "--out", str(out)])
    decoding.main()
    assert "skipped: no GPU here: 8 points" in capsys.readouterr().out
    assert json.loads(out.read_text())["points"] == decoding.POINTS
