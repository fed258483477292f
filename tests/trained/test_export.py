"""What is exported loads without this project and says the same; its card is what the hub reads."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from swirl_lightning.codecs import Layout, decode_delta
from swirl_lightning.models import PretrainedLM
from swirl_lightning.trained.export import export
from swirl_lightning.trained.load import load_run
from swirl_lightning.types import InputError, Transition

IDS = torch.tensor([[5, 8, 100, 42, 7, 7, 31], [1, 2, 3, 250, 9, 60, 11]])


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(input_ids=ids).logits


def card_of(folder):
    return (folder / "README.md").read_text()


def run_snippet(folder, state, known, capsys):
    """What the card's own Python prints for a state and what is known."""
    (code,) = re.findall(r"```python\n(.*?)```", card_of(folder), re.DOTALL)
    code = re.sub(r"^folder = .*$", lambda _: f"folder = {str(folder)!r}", code, flags=re.MULTILINE)
    code = re.sub(r"^state = .*$", lambda _: f"state = {state!r}", code, flags=re.MULTILINE)
    code = re.sub(r"^(action|change) = .*$", lambda m: f"{m[1]} = {known!r}", code, flags=re.MULTILINE)
    capsys.readouterr()
    exec(compile(code, "card", "exec"), {})
    return capsys.readouterr().out[:-1]


@pytest.fixture(scope="session")
def exported(model, run, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "out"
    export(model, run, out)
    return out


@pytest.fixture(scope="session")
def base(model, tmp_path_factory):
    """A random Llama with the run's tokenizer, in a folder with a card."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    eos = model.codec.eos
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=300, **shape, initializer_range=0.25, bos_token_id=None, eos_token_id=eos)
    LlamaForCausalLM(config).save_pretrained(folder)
    model.codec.tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A base\n")
    return folder


@pytest.fixture(scope="session")
def lora_run(run, base, tmp_path_factory):
    """A run whose adapters have random values, made from the other run's folder."""
    folder = tmp_path_factory.mktemp("lora") / "run"
    shutil.copytree(run, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    options = {"name": str(base), "dtype": "float32", "lora_rank": 4, "lora_alpha": 8.0}
    config["model"]["base"] = {"class_path": "swirl_lightning.models.PretrainedLM", "init_args": options}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    path = folder / "checkpoints/last.ckpt"
    saved = torch.load(path, weights_only=True)
    saved["swirl"]["codec"] = None
    with pytest.raises(InputError, match="does not fit"):
        load_run(folder)
    torch.save(saved | {"state_dict": adapters(base)}, path)
    return folder


def adapters(base):
    weights = PretrainedLM(str(base), dtype="float32", lora_rank=4).weights(None, ["fwm", "idm", "reference"])
    generator = torch.Generator().manual_seed(1)
    return {key: 0.2 * torch.randn(p.shape, generator=generator) for key, p in weights.tensors().items()}


@pytest.fixture(scope="session")
def lora_model(lora_run):
    return load_run(lora_run)


@pytest.fixture(scope="session")
def lora_exported(lora_model, lora_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "lora"
    export(lora_model, lora_run, out, base_model="someone/base")
    return out


@pytest.mark.parametrize("role", ["fwm", "idm"])
def test_peft_loads_the_adapter(lora_model, lora_exported, base, role):
    policy = getattr(lora_model, role).policy
    expected = logits(policy.weights.activate(policy.name))
    plain = AutoModelForCausalLM.from_pretrained(base)
    assert (logits(plain) - expected).abs().max() > 0.1
    loaded = PeftModel.from_pretrained(plain, lora_exported / role)
    torch.testing.assert_close(logits(loaded), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("role", ["fwm", "idm"])
def test_merged_model_is_the_adapter_on_its_base(lora_model, lora_run, tmp_path, role):
    policy = getattr(lora_model, role).policy
    expected = logits(policy.weights.activate(policy.name))
    export(lora_model, lora_run, tmp_path / "out", merge=True)
    assert not (tmp_path / "out" / role / "adapter_config.json").exists()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / role)
    torch.testing.assert_close(logits(merged), expected, rtol=0, atol=1e-4)
    assert ModelCard.load(tmp_path / "out" / role / "README.md").data["library_name"] == "transformers"
    torch.testing.assert_close(logits(policy.weights.activate(policy.name)), expected)  # the run's model stays


@pytest.mark.parametrize("role", ["fwm", "idm"])
def test_whole_models_and_tokenizer_load(model, exported, role):
    policy = getattr(model, role).policy
    loaded = AutoModelForCausalLM.from_pretrained(exported / role)
    torch.testing.assert_close(logits(loaded), logits(policy.weights.activate(policy.name)), rtol=0, atol=1e-5)
    text = "State:\n door open\nAction: push\nChange:\n"
    tokenizer = AutoTokenizer.from_pretrained(exported / role)
    assert tokenizer(text).input_ids == model.codec.tokenizer(text).input_ids


def test_the_cards_python_asks_as_the_run_does(exported, rows, capsys):
    row = rows[4]
    change = run_snippet(exported / "fwm", row["state"], row["action"], capsys)
    assert decode_delta(row["state"], change) == row["next_state"]
    assert run_snippet(exported / "idm", row["state"], change, capsys) == " " + row["action"]


def test_the_cards_python_loads_an_adapter(lora_model, lora_run, tmp_path, rows, capsys):
    """The base by the name that the run loaded it by, and a random model's answer, which is the same nonsense."""
    export(lora_model, lora_run, tmp_path / "out")
    row = rows[4]
    said = run_snippet(tmp_path / "out/fwm", row["state"], row["action"], capsys)
    code = lora_model.codec.encode(Transition(**row))
    (ids,) = lora_model.fwm.answer([lora_model.fwm.prompt(code, code.z)]).ids
    assert said == lora_model.codec.tokenizer.decode(ids, skip_special_tokens=True)


def test_the_cards_python_heeds_no_generation_settings_of_the_base(lora_run, base, tmp_path, rows, capsys):
    own = tmp_path / "base"
    shutil.copytree(base, own)
    (own / "generation_config.json").write_text(
        json.dumps({"suppress_tokens": list(range(3, 200)), "min_new_tokens": 9})
    )
    model = load_run(lora_run, **{"base.init_args.name": str(own)})
    export(model, lora_run, tmp_path / "out")
    row = rows[4]
    said = run_snippet(tmp_path / "out/fwm", row["state"], row["action"], capsys)
    code = model.codec.encode(Transition(**row))
    (ids,) = model.fwm.answer([model.fwm.prompt(code, code.z)]).ids
    assert said == model.codec.tokenizer.decode(ids, skip_special_tokens=True)


def test_the_cards_python_loads_an_adapter_on_a_gguf_file(lora_run, base, tmp_path, rows, capsys):
    folder = tmp_path / "gguf"
    folder.mkdir()
    write_gguf(
        folder / "tiny-F32.gguf", AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    )
    model = load_run(lora_run, **{"base.init_args.name": str(folder)})
    export(model, lora_run, tmp_path / "out")
    row = rows[4]
    said = run_snippet(tmp_path / "out/fwm", row["state"], row["action"], capsys)
    code = model.codec.encode(Transition(**row))
    (ids,) = model.fwm.answer([model.fwm.prompt(code, code.z)]).ids
    assert said == model.codec.tokenizer.decode(ids, skip_special_tokens=True)
    export(model, lora_run, tmp_path / "merged", merge=True)
    assert run_snippet(tmp_path / "merged/fwm", row["state"], row["action"], capsys) == said


def write_gguf(path, model, tokenizer):
    """A Llama and a byte-level tokenizer as llama.cpp keeps them."""
    gguf = pytest.importorskip("gguf")
    config, trained = model.config, json.loads(tokenizer.backend_tokenizer.to_str())
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_attention_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    names = {number: token for token, number in tokenizer.get_vocab().items()}
    special = {token["id"] for token in trained["added_tokens"]}
    size = config.vocab_size
    writer.add_token_list([names.get(number, f"[unused {number}]") for number in range(size)])
    writer.add_token_types([3 if number in special or number not in names else 1 for number in range(size)])
    writer.add_token_merges([" ".join(merge) for merge in trained["model"]["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_bos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)
    places = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    parts = {
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    for layer in range(config.num_hidden_layers):
        places |= {f"model.layers.{layer}.{ours}": f"blk.{layer}.{theirs}" for ours, theirs in parts.items()}
    weights = model.state_dict()
    for ours, theirs in places.items():
        writer.add_tensor(f"{theirs}.weight", weights[f"{ours}.weight"].numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("role", ["fwm", "idm"])
def test_the_card_describes_the_edits_that_are_written(exported, role):
    """Every sign of its tables, in each form, does what stands there."""
    _, facts, lines = re.split(r"^\| line \| what it does \|$", card_of(exported / role), flags=re.MULTILINE)
    told = [re.findall(r"^\| `(\S+ \S+)` \|", table, re.MULTILINE) for table in (facts, lines)]
    assert told == [["- text", "+ text"], ["= text", "- text", "~ text", "+ text", "@ end", "@ 3"]]
    assert decode_delta("a\ntext", "- text\n+ b") == "a\nb"
    page = "z\na\nb\ntext\nc\nd"
    assert decode_delta(page, "= text\n+ here") == "z\na\nb\ntext\nhere\nc\nd"
    assert decode_delta(page, "- text") == "z\na\nb\nc\nd"
    assert decode_delta(page, "~ text") == "c\nd"
    assert decode_delta(page, "@ end\n+ here") == page + "\nhere"
    assert decode_delta(page, "@ 3\n+ here") == "z\na\nb\nhere\ntext\nc\nd"
    assert decode_delta("a\nb\nc\nd", "@ 3\n+ here") == "a\nb\nc\nhere\nd"


def test_front_matter_is_what_the_hub_reads(exported, lora_exported, run):
    data = ModelCard(card_of(lora_exported / "idm")).data
    assert (data.base_model, data.license, data.library_name) == ("someone/base", "apache-2.0", "peft")
    assert data["base_model_relation"] == "adapter"
    assert {"swirl", "world-model", "arxiv:2602.06130"} <= set(data.tags)
    metrics = json.loads((run / "results.json").read_text())["stages"][-1]["metrics"]
    told = {result.metric_name: result.metric_value for result in data.eval_results}
    assert told == {name: value for name, value in metrics.items() if name.startswith("idm/")}
    scratch = ModelCard(card_of(exported / "fwm")).data
    assert (scratch.base_model, scratch.license, scratch.library_name) == (None, None, "transformers")


def test_card_names_data_metrics_and_limits_and_no_path(exported, lora_exported, run):
    for folder in (exported / "fwm", exported / "idm", lora_exported / "fwm", lora_exported / "idm"):
        text = card_of(folder)
        for part in (
            "LogDataModule",
            "path: data\n",
            "schedule: sft",
            "exact_match | 1.0000",
            "100 tokens",
            "## Limits",
        ):
            assert part in text
        assert str(run.parent) not in text
    assert "Licence: the base's is `apache-2.0`." in card_of(lora_exported / "fwm")
    assert "Licence: none is given yet" in card_of(exported / "fwm")


def test_unknown_licence_points_to_the_base(lora_model, lora_run, base, tmp_path):
    (base / "README.md").rename(tmp_path / "README.md")
    try:
        export(lora_model, lora_run, tmp_path / "out")
    finally:
        (tmp_path / "README.md").rename(base / "README.md")
    text = card_of(tmp_path / "out/fwm")
    assert "Licence: unknown: see the base model." in text
    data = ModelCard(text).data
    assert (data.license, data.base_model) == ("unknown", None)  # a folder is no name on the hub


def test_adapter_names_its_base(lora_exported):
    config = json.loads((lora_exported / "fwm/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "someone/base"
    assert (config["task_type"], config["inference_mode"], config["r"]) == ("CAUSAL_LM", True, 4)


def test_description_for_programs(exported, model):
    described = json.loads((exported / "swirl.json").read_text())
    assert described["layouts"] == {"": {"start": "State:\n", "action": "\nAction:", "next_state": "\nChange:\n"}}
    assert (described["state_form"], described["max_tokens"]) == ("delta", 100)
    assert described["max_new_tokens"] == {"fwm": 24, "idm": 12}
    assert described["trained_with"]["swirl-lightning"]


def test_several_environments_are_laid_out_each(model, run, tmp_path, monkeypatch):
    layouts = model.layouts | {"web": Layout(), "tool": Layout("API:\n", "\nCall:", "\nResponse:\n")}
    monkeypatch.setattr(model, "layouts", layouts)
    export(model, run, tmp_path / "out")
    assert r"| tool | `'API:\n'` | `'\nCall:'` | `'\nResponse:\n'` |" in card_of(tmp_path / "out/fwm")


def test_wrong_options(model, run, lora_model, lora_run, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="--base_model: found a run whose model was built from scratch"):
        export(model, run, tmp_path / "out", base_model="someone/base")
    monkeypatch.setattr(lora_model.weights.model, "is_quantized", True, raising=False)
    with pytest.raises(InputError, match="--merge: found a quantised base"):
        export(lora_model, lora_run, tmp_path / "out", merge=True)
    assert not list(Path(tmp_path).iterdir())
