"""Models of many families learn in both phases, and are merged, or are refused in a line."""

import re

import pytest
import torch
from families import FAMILIES, family_model
from peft import LoraConfig
from transformers import AutoModelForCausalLM

from swirl_lightning.engine import PlainTexts, SharedPrompts
from swirl_lightning.models import LoraWeights, Policy, ScratchLM
from swirl_lightning.modules import SWIRL, ForwardWorldModel, InverseDynamicsModel
from swirl_lightning.modules.learning import GRPOOptions
from swirl_lightning.types import Answer, InputError

VOCAB = 280


class FamilyLM(ScratchLM):
    """A tiny model of a family, with adapters on it as ``PretrainedLM`` puts them there."""

    def __init__(self, kind, dtype="float32", **changes):
        super().__init__(hidden_size=32, vocab_size=VOCAB)
        self.kind, self.dtype, self.changes = kind, getattr(torch, dtype), changes

    def weights(self, codec, names):
        model = family_model(self.kind, **{"vocab": VOCAB} | self.changes).to(self.dtype)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:  # what is near zero in a fresh model hides what is left out
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return LoraWeights(model, names, LoraConfig(r=2, lora_alpha=4, target_modules="all-linear"))


def swirl(base, **options):
    grpo = GRPOOptions(group_size=2)
    roles = (
        role(max_new_tokens=4, learning_rate=0.05, grpo=grpo) for role in (ForwardWorldModel, InverseDynamicsModel)
    )
    return SWIRL(base, *roles, **{"max_tokens": 120, "state_form": "full"} | options)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_family_learns_or_is_refused_in_a_line(kind, dtype, toy_data, toy_trainer):
    model = swirl(FamilyLM(kind, dtype))
    data, trainer = toy_data(), toy_trainer("sft", "vim", updates=1)
    if dtype == "bfloat16" and kind in ("mamba", "mamba2", "jamba"):
        with pytest.raises(InputError, match=r"a model of the type '\w+' does not .* model\.base\.dtype float32"):
            trainer.fit(model, datamodule=data)
        return
    trainer.fit(model, datamodule=data)
    for name in ("fwm", "idm"):
        read = {key: bool(p.any()) for key, p in model.weights.named(name).items() if "lora_B" in key}
        assert read
        assert all(read.values()), "an adapter that nothing reads"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("kind", "engine"), [("cohere", PlainTexts), ("mpt", PlainTexts), ("gemma2", PlainTexts), ("phi3", SharedPrompts)]
)
def test_half_precision_does_not_hide_that_prompts_cannot_be_shared(kind, engine, dtype, ready_swirl, monkeypatch):
    """Scaled logits, biases by distance and soft caps; small differences beside what bfloat16 rounds off."""
    base = FamilyLM(kind, dtype)
    monkeypatch.setattr(ScratchLM, "weights", lambda self, codec, names: base.weights(codec, names))
    model, _ = ready_swirl()
    assert model.fwm.policy.engine is engine


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_family_is_merged(kind, tmp_path):
    weights = FamilyLM(kind).weights(None, ["a", "b"])
    for name, seed in (("a", 1), ("b", 2)):
        generator = torch.Generator().manual_seed(seed)
        for parameter in weights.named(name).values():
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    ids = torch.arange(1, 21)[None]
    with torch.no_grad():
        own, other = weights.activate("b")(ids).logits, weights.activate("a")(ids).logits
        weights.export("b", tmp_path / "b", merge=True)
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "b")(ids).logits
    assert (own - other).abs().max() > 1e-3
    torch.testing.assert_close(merged, own, rtol=1e-3, atol=1e-4)


def refusal(toy_data, toy_trainer, base, **options):
    with pytest.raises(InputError) as caught:
        toy_trainer("sft", updates=1).fit(swirl(base, **options), datamodule=toy_data())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["gpt2", "mixtral", "bloom"])
def test_a_tokenizer_larger_than_the_model_is_refused(kind, toy_data, toy_trainer):
    said = refusal(toy_data, toy_trainer, FamilyLM(kind, vocab=200))
    assert "model.base.name: the tokenizer has 280 ids, and the model has embeddings for 200" in said


@pytest.mark.parametrize(
    ("kind", "option", "positions", "longest", "fits"),
    [
        ("gpt2", "n_positions", 127, 120, False),  # a table of positions: two completions of 4 tokens may come beside
        ("gpt2", "n_positions", 128, 120, True),
        ("opt", "max_position_embeddings", 100, 120, False),
        ("gptj", "n_positions", 100, 120, False),
        ("mixtral", "max_position_embeddings", 119, 120, False),  # a rotation, which goes on
        ("mixtral", "max_position_embeddings", 120, 120, True),
    ],
)
def test_texts_longer_than_the_positions_are_refused(kind, option, positions, longest, fits, toy_data, toy_trainer):
    base = FamilyLM(kind, **{option: positions})
    if fits:
        toy_trainer("sft", updates=1).fit(swirl(base, max_tokens=longest), datamodule=toy_data())
        return
    said = refusal(toy_data, toy_trainer, base, max_tokens=longest)
    assert (
        f"model.max_tokens: found {longest}, and the model has {positions} positions (max_position_embeddings" in said
    )
    assert ("model.fwm.max_new_tokens (4)" in said) == (kind != "mixtral")


def test_a_model_from_scratch_has_its_positions(toy_data, toy_trainer):
    said = refusal(toy_data, toy_trainer, ScratchLM(hidden_size=32, vocab_size=VOCAB, max_positions=64), max_tokens=65)
    assert "the model has 64 positions" in said
    assert "model.base.max_positions" in said


def test_what_writes_no_text_is_refused(toy_data, toy_trainer, monkeypatch):
    """Whatever goes wrong in a model's own code."""

    class Broken(FamilyLM):
        def weights(self, codec, names):
            weights = super().weights(codec, names)
            weights.model.lm_head.weight.data.fill_(float("nan"))
            return weights

    for engine in ("auto", "plain"):
        said = refusal(toy_data, toy_trainer, Broken("gpt2"), engine=engine)
        assert "a model of the type 'gpt2' does not write or score text here" in said


def test_a_model_without_linear_layers_is_refused():
    with pytest.raises(InputError, match="found no linear layer in a model of the type 'mixtral'"):
        LoraWeights(family_model("mixtral", **{"num_hidden_layers": 0}), ["a"], LoraConfig(target_modules="all-linear"))


WITHOUT = {
    "mixtral": {"model.layers.*.mlp.experts.gate_up_proj", "model.layers.*.mlp.experts.down_proj"},
    "qwen3_moe": {"model.layers.*.mlp.experts.gate_up_proj", "model.layers.*.mlp.experts.down_proj"},
    "deepseek_v3": {
        "model.layers.*.mlp.experts.gate_up_proj", "model.layers.*.mlp.experts.down_proj",
        *(f"model.layers.*.mlp.{part}_proj" for part in ("gate", "up", "down")),
        *(f"model.layers.*.mlp.shared_experts.{part}_proj" for part in ("gate", "up", "down")),
    },
    "falcon_h1": {"model.layers.*.mamba.dt_proj", "model.layers.*.mamba.out_proj"},
}  # fmt: skip


@pytest.mark.parametrize("kind", [*WITHOUT, "phi3", "gpt2"])
def test_what_gets_no_adapter_is_told_with_its_share(kind, caplog):
    model = family_model(kind)
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    weights = LoraWeights(model, ["fwm"], LoraConfig(r=2, lora_alpha=4, target_modules="all-linear"))
    told = [message for message in caplog.messages if message.startswith("adapters: ")]
    if kind not in WITHOUT:
        assert not told
        return
    [message] = told
    names, share = re.fullmatch(r"adapters: (.*) have none, which are ([\d.]+)% .*", message).groups()
    found = set(names.split(", "))
    assert found <= WITHOUT[kind]
    assert found >= {name for name in WITHOUT[kind] if "dt_proj" not in name}
    patterns = [re.compile(rf"{re.escape(name).replace('[*]', '*').replace(chr(92) + '*', '[0-9]+')}(\.weight)?")
                for name in found]  # fmt: skip
    left_out = [name for name in sizes if any(pattern.fullmatch(name) for pattern in patterns)]
    assert float(share) == pytest.approx(100 * sum(map(sizes.get, left_out)) / sum(sizes.values()), abs=0.051)
    adapted = {key.split(".lora_")[0] for key in weights.named("fwm")}
    assert not adapted & {name.removesuffix(".weight") for name in left_out}


@pytest.mark.parametrize(
    ("kind", "dropouts"),
    [
        ("opt", {"dropout": 0.5, "attention_dropout": 0.5}),
        ("falcon", {"hidden_dropout": 0.5, "attention_dropout": 0.5}),
        ("gpt2", {"resid_pdrop": 0.5, "attn_pdrop": 0.5, "embd_pdrop": 0.5}),
    ],
)
def test_layers_that_are_computed_again_drop_nothing_out(kind, dropouts):
    """The gradient of gradient checkpointing is that without it, also where a layer drops out by its own mode."""
    grads = []
    for again in (False, True):
        model = family_model(kind, **dropouts)
        torch.manual_seed(1)
        lora = LoraConfig(r=2, lora_alpha=4, target_modules="all-linear")
        weights = LoraWeights(model, ["fwm"], lora, gradient_checkpointing=again)
        policy = Policy(weights, "fwm", Answer())
        policy.accumulate(
            [(3, 5, 7, 9)], torch.tensor([0, 0]), [(4, 6, 8), (4, 2)], [3, 2],
            lambda n, scores: (scores.logp.sum(), None), plain=True,
        )  # fmt: skip
        grads.append({key: p.grad for key, p in weights.named("fwm").items()})
        assert all(getattr(model.config, name) == 0.5 for name in dropouts)  # which is exported
    assert any(grad is not None and grad.any() for grad in grads[0].values())
    for key, grad in grads[0].items():
        torch.testing.assert_close(grads[1][key], grad, rtol=1e-4, atol=1e-5)
