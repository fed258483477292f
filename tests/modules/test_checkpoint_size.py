"""A checkpoint of a 7B QLoRA run stays under 500 MB: by a formula, which a real small checkpoint bears out."""

import pytest
import torch
from peft import LoraConfig
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from swirl_lightning.callbacks import PhaseCheckpoint
from swirl_lightning.models import LoraWeights, ScratchLM
from swirl_lightning.models.optimizers import OptimizerOptions
from swirl_lightning.modules.swirl import REFERENCE

MEGABYTE = 10**6
RANK = 16
BLOCK = 256  # values that share one scale in moments of 8 bits
SMALLEST = 4096  # tensors below this size have moments of 32 bits


def checkpoint_bytes(weights, optimizer, roles_with_moments):
    """Of the weight sets, and of the two moments of each value of the roles that have made a step in the phase."""
    sets = sum(p.numel() * p.element_size() for name in weights.names for p in weights.named(name).values())
    moments = 0
    for p in weights.named("fwm").values():
        if optimizer == "adamw":
            moments += 2 * p.numel() * p.element_size()
        elif p.numel() < SMALLEST:
            moments += 2 * p.numel() * 4
        else:
            moments += 2 * (p.numel() + 4 * -(-p.numel() // BLOCK))
    return sets + roles_with_moments * moments


def adapters(model, dtype, rank=RANK):
    lora = LoraConfig(r=rank, lora_alpha=32, target_modules="all-linear")
    return LoraWeights(model, ["fwm", "idm", REFERENCE], lora, dtype)


@pytest.fixture(scope="module")
def qwen():
    """The shape of Qwen2.5-7B, without memory."""
    config = Qwen2Config(
        hidden_size=3584, num_hidden_layers=28, intermediate_size=18944, num_attention_heads=28, num_key_value_heads=4,
        vocab_size=152064, tie_word_embeddings=False,
    )  # fmt: skip
    with torch.device("meta"):
        return adapters(Qwen2ForCausalLM(config), torch.bfloat16)


def test_it_has_7_billion_parameters(qwen):
    own = {id(p) for name in qwen.names for p in qwen.named(name).values()}
    assert sum(p.numel() for p in qwen.parameters() if id(p) not in own) == 7_615_616_512
    widths = 2 * (3584 + 3584) + 2 * (3584 + 512) + 3 * (3584 + 18944)  # q and o, k and v, the three of the MLP
    assert sum(p.numel() for p in qwen.named("fwm").values()) == 28 * RANK * widths


def test_a_7b_checkpoint_is_below_500_megabytes(qwen):
    """In the sft phase both roles have moments; any other begins by forgetting them all and then trains one."""
    assert checkpoint_bytes(qwen, "adamw_8bit", 2) < 410 * MEGABYTE
    assert checkpoint_bytes(qwen, "adamw_8bit", 1) < 330 * MEGABYTE
    assert checkpoint_bytes(qwen, "adamw", 1) < 410 * MEGABYTE  # moments of 16 bits, as the adapters


class Base(ScratchLM):
    """Adapters large enough that the rest of a checkpoint hardly counts."""

    dtype = torch.bfloat16

    def weights(self, codec, names):
        config = LlamaConfig(
            vocab_size=self.vocab_size, hidden_size=256, intermediate_size=512, num_hidden_layers=4,
            num_attention_heads=4, num_key_value_heads=1, bos_token_id=None, eos_token_id=codec.eos,
        )  # fmt: skip
        return adapters(LlamaForCausalLM(config), self.dtype, rank=64)


@pytest.mark.parametrize(("phase", "roles"), [("sft", 2), ("vim", 1), ("elbo", 1)])
@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_real_checkpoint_is_as_large_as_the_formula_says(
    phase, roles, optimizer, dtype, toy_swirl, toy_data, toy_trainer, monkeypatch
):
    """The phase comes after one in which both roles had moments."""
    monkeypatch.setattr(Base, "dtype", dtype)
    model = toy_swirl(optimizer=OptimizerOptions(optimizer, lr_warmup=2), fwm={"anchor": 0.1}, idm={"anchor": 0.1})
    model.base = Base(vocab_size=280)
    trainer = toy_trainer(*dict.fromkeys(("sft", phase)), updates=1, callbacks=[PhaseCheckpoint()])
    trainer.fit(model, datamodule=toy_data())
    size = PhaseCheckpoint.path(trainer).stat().st_size
    expected = checkpoint_bytes(model.weights, optimizer, roles)
    assert size == pytest.approx(expected, rel=0.05), (size, expected)
