"""The weights of any model are those of the real one; what is not known of it is said."""

import json

import pytest
import torch
from families import FAMILIES, family_config, family_model
from peft import LoraConfig, inject_adapter_in_model
from transformers import CONFIG_MAPPING, LlamaConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

from swirl_lightning.engine import MicroBatchSizes
from swirl_lightning.models import ScratchLM
from swirl_lightning.modules.schedule import Stage
from swirl_lightning.plan.counts import Counts, adapted_layers, count
from swirl_lightning.plan.memory import Memory
from swirl_lightning.plan.page import Plan
from swirl_lightning.plan.passes import Pass
from swirl_lightning.plan.shapes import Shape, config_shape, shape_of
from swirl_lightning.types import InputError

WORK = {"vim": [Pass(kind, kind, 2, 4, 64, 16) for kind in ("generation", "scoring", "update")]}


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_weights_are_those_of_the_real_model(kind, tmp_path):
    model = family_model(kind)
    model.config.save_pretrained(tmp_path)
    shape = shape_of(str(tmp_path))
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    names = list(adapted_layers(model))
    inject_adapter_in_model(LoraConfig(r=3, target_modules=names), model)
    assert shape.lora_parameters(3) == sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)


def test_what_is_not_known_is_said_and_begins_with_one_row():
    shape = config_shape(family_config("mixtral"))
    assert isinstance(shape, Counts)
    memory = Memory(shape, bytes=4, rank=4)
    plan = Plan(memory, WORK, "auto", 2**33)
    assert plan.sizes == plan.chosen == MicroBatchSizes(1, 1, 1)
    page = plan.page()
    assert "peak at least" in page
    assert "weights and optimiser fit in 8.0 GiB" in page
    assert "are not known before it runs" in page
    assert plan.peak[1].base == 4 * shape.parameters
    small = Plan(memory, WORK, "auto", 2**20)
    assert small.chosen is None
    assert "does not fit" in small.page()


def test_a_mixture_of_experts_of_30b_is_counted():
    """As the hub's own configuration of Qwen3-30B-A3B says; nothing is made of it."""
    config = CONFIG_MAPPING["qwen3_moe"](
        vocab_size=151936, hidden_size=2048, intermediate_size=6144, moe_intermediate_size=768, num_hidden_layers=48,
        num_attention_heads=32, num_key_value_heads=4, head_dim=128, num_experts=128, num_experts_per_tok=8,
        tie_word_embeddings=False,
    )  # fmt: skip
    assert count(config).parameters == 30_532_122_624


def test_a_run_on_an_unknown_kind_begins_with_one_row(toy_swirl, ready_swirl, caplog, monkeypatch):
    shape = config_shape(family_config("bloom"))
    monkeypatch.setattr(ScratchLM, "memory", lambda *args, **options: Memory(shape, bytes=4, rank=None))
    module, _ = ready_swirl()
    assert module.fwm.policy.sizes == MicroBatchSizes(1, 1, 1)
    assert "are not known before it runs" in caplog.text
    plan = toy_swirl().plan([Stage("sft"), Stage("vim")], 4, 4, torch.device("cpu"), 2**33)
    assert plan.fits


def test_counting_draws_nothing():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    count(family_config("qwen2_moe"))
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("part", range(8))
def test_no_type_of_model_makes_the_plan_crash(part):
    """Every causal LM of transformers, as its configuration is by default: a plan, or one line."""
    told = 0
    for kind in sorted(CAUSAL)[part::8]:
        try:
            config = CONFIG_MAPPING[kind]()
        except Exception:  # its own defaults are refused
            continue
        try:
            shape = config_shape(config)
        except InputError:
            continue
        told += 1
        assert Plan(Memory(shape, bytes=2, gpu=True), WORK, "auto", 2**36).page()
    assert told > 15


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "gemma", "phi"])
def test_the_usual_kinds_are_known(kind):
    assert isinstance(config_shape(CONFIG_MAPPING[kind]()), Shape)


WRONG = {
    "no causal LM": {"model_type": "t5"},
    "no type": {"hidden_size": 3},
    "unknown type": {"model_type": "perpetuum"},
    "code of its own": {
        "model_type": "odd",
        "auto_map": {"AutoConfig": "odd.Config", "AutoModelForCausalLM": "odd.Odd"},
    },
    "sizes that fit nothing": {"model_type": "llama", "hidden_size": 30, "num_attention_heads": 0},
    "sizes that are words": {"model_type": "gpt2", "n_layer": "many"},
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_causal_lm_is_refused_in_a_line(name, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(WRONG[name]))
    (tmp_path / "odd.py").write_text("raise SystemExit('code of the folder was run')")
    with pytest.raises(InputError, match=r"model\.base\.name") as caught:
        shape_of(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layers", [0, -1, 10**12])
def test_a_number_of_layers_that_no_model_has_is_refused(layers):
    """Before any layer is made: as many as the file says could take for ever."""
    config = LlamaConfig(num_hidden_layers=layers)
    with pytest.raises(InputError, match=r"num_hidden_layers of its config\.json: found"):
        count(config)
