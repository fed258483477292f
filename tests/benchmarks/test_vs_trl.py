"""The parts of benchmarks/vs_trl.py that need neither TRL nor a language model."""

import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen2Config

from swirl_lightning.codecs import Layout, TextCodec
from swirl_lightning.models import ScratchLM
from swirl_lightning.types import Transition

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import vs_trl
import vs_trl_report
import vs_trl_textworld
import vs_trl_work
from vs_trl_ours import given
from vs_trl_work import Loaded, Sizes, Update

MODEL = "any"


def update(seconds, tokens=32, gradient=(1.0, 2.0), loss=0.5, rewards=(-1.0, -2.0)):
    parts = {"generation": seconds / 2, "scoring": 0.0, "update": seconds / 2}
    return Update(parts, 2**30, tokens, 4, list(rewards), loss, {"a": np.array(gradient)})


@pytest.mark.parametrize(
    ("name", "prompt", "completion", "group", "scored", "targets"),
    [
        ("elbo", 1024, 16, 16, 512, (8, 0.25)),
        ("elbo-small", 512, 16, 8, 256, (6, 1 / 3)),
        ("vim", 512, 128, 8, 16, (3, 0.4)),
        ("vim-short", 128, 128, 8, 16, (1.2, 1)),
        ("growth", 1024, 16, 8, 32, (1, None)),
    ],
)
def test_cases(name, prompt, completion, group, scored, targets):
    case = vs_trl.CASES[name]
    assert case[1:] == (prompt, completion, group, scored, targets)
    work = vs_trl.work_of(case, MODEL)
    assert len(work.updates) == 1 + vs_trl.WARM_UP + 5 + 1
    for (one,) in work.updates[1:]:
        assert len(one.prompt) == prompt
        assert one.head + one.target == one.prompt
        assert len(one.target) == scored
    assert len({one.prompt for (one,) in work.updates}) == len(work.updates)
    assert vs_trl.work_of(case, MODEL) == work
    assert (work.group_size, work.max_tokens, work.eos) == (group, completion, -1)


def test_check_has_unequal_lengths_and_a_repeated_completion():
    completions = vs_trl_work.random_completions(2, 5, 8, random.Random(0))
    rewards = vs_trl_work.random_rewards(completions, random.Random(0))
    for group, values in zip(completions, rewards, strict=True):
        assert group[0] == group[-1]
        assert [len(ids) for ids in group] == [8, 7, 6, 8, 8]
        assert values[0] == values[-1]
        assert len(set(values)) == 4


def test_given_rollouts_keep_a_repeated_completion_once():
    rollouts = given([(9,), (8,)], [[(1, 2), (3,), (1, 2)], [(1, 2), (4, 5), (6,)]], torch.device("cpu"))
    assert rollouts.completions == ((1, 2), (3,), (1, 2), (4, 5), (6,))
    assert rollouts.prompt_of.tolist() == [0, 0, 1, 1, 1]
    assert rollouts.row_of.tolist() == [[0, 1, 0], [2, 3, 4]]
    assert rollouts.counts.tolist() == [2, 1, 1, 1, 1]
    assert [tuple(ids[mask].tolist()) for ids, mask in zip(rollouts.ids, rollouts.mask, strict=True)] == list(
        rollouts.completions
    )


@pytest.mark.parametrize(("name", "rows"), [("elbo", 2), ("elbo-small", 4), ("vim", 4), ("vim-short", 8)])
def test_trl_gets_as_many_rows_as_it_is_fastest_with(name, rows):
    assert vs_trl.work_of(vs_trl.CASES[name], MODEL).micro_batch == rows
    assert vs_trl_work.trl_rows(16, 10**6) == 1


def test_the_check_finds_what_differs():
    same = vs_trl_report.compare(update(1), update(1))
    assert vs_trl_report.check_failures([same], 1e-3) == []
    off = [
        update(1, gradient=(1.0, 2.1)),
        update(1, loss=0.51),
        update(1, rewards=(-1.0, -2.1)),
        update(1, loss=np.nan),
    ]
    for ours, key in zip(off, ("gradient", "loss", "rewards", "loss"), strict=True):
        (failure,) = vs_trl_report.check_failures([vs_trl_report.compare(ours, update(1))], 1e-3)
        assert key in failure
    shifted = vs_trl_report.compare(update(1, rewards=(-3.0, -4.0)), update(1))
    assert shifted["rewards"] < 1e-6, "advantages do not see what all rewards have in common"


def test_a_point_is_judged_by_medians():
    work = vs_trl.work_of(vs_trl.Case("idm", 8, 8, 4, 2), MODEL)
    loaded = Loaded(2**20, Sizes(10, 5, 2))
    sides = {
        name: vs_trl_report.summary(work, loaded, [update(s) for s in seconds])
        for name, seconds in (("ours", (1, 2, 9)), ("trl", (6, 4, 5)))
    }
    sides["trl"]["peak_memory_mib"] *= 2
    point = vs_trl_report.judged({}, {"speedup": 2.5, "memory_ratio": 0.5}, work, sides, rate=1e3)
    assert point["speedup"] == 2.5
    assert point["memory_ratio"] == 0.5
    assert point["met"]
    assert sides["ours"]["distinct_share"] == 1
    for target in ({"speedup": 2.6, "memory_ratio": None}, {"speedup": 1.0, "memory_ratio": 0.4}):
        assert not vs_trl_report.judged({}, target, work, sides, rate=1e3)["met"]
    assert vs_trl_report.overall([point, point | {"speedup": 1.0, "memory_ratio": 0.9}]) == {
        "speedup": 1.0,
        "memory_ratio": 0.9,
    }
    fewer = sides | {"trl": sides["trl"] | {"tokens": 31}}
    with pytest.raises(RuntimeError, match="trl sampled 31 tokens an update, expected 32"):
        vs_trl_report.judged({}, {"speedup": 1.0, "memory_ratio": None}, work, fewer, rate=1e3)


def test_multiply_adds_by_hand():
    work = vs_trl.work_of(vs_trl.Case("idm", 6, 2, 3, 4), MODEL)
    work = replace(work, updates=work.updates[:1] + work.updates[1:2])
    sizes = Sizes(trunk=100, head=10, attention=1)
    policy = 100 * (6 + 3 * 2) + 10 * 3 * 2 + (18 + 3 * 2 * 7)
    scorer = 100 * (2 + 3 * 6) + 10 * 3 * 4 + (2 + 3 * 6 * 5)
    assert vs_trl_report.multiply_adds(work, sizes, rows=3, length=2) == 4 * policy + scorer


def test_a_part_gives_up_the_time_of_a_part_inside_it(monkeypatch):
    clock = vs_trl_work.Clock(gpu=False)
    ticks = iter([0.0, 1.0, 2.0, 5.0, 7.0, 10.0])
    monkeypatch.setattr(clock, "_now", lambda: next(ticks))
    clock.start()
    with clock.part("scoring"), clock.part("generation", within="scoring"):
        pass
    assert clock.stop() == {"generation": 3.0, "scoring": 3.0, "update": 4.0}


def test_adapters_come_from_the_checkpoint(tmp_path):
    keys = {"x.lora_A.weight": (2, 3), "x.lora_B.weight": (3, 2)}
    saved = {f"{role}/{key}": torch.rand(shape) for role in ("fwm", "idm") for key, shape in keys.items()}
    torch.save({"state_dict": saved}, tmp_path / "last.ckpt")
    work = replace(vs_trl.work_of(vs_trl.CASES["check"], MODEL), checkpoint=str(tmp_path / "last.ckpt"))
    assert work.role == "idm"
    for name, role in (("policy", "idm"), ("scorer", "fwm"), ("reference", None)):
        parameters = {key: torch.nn.Parameter(torch.zeros(shape)) for key, shape in keys.items()}
        vs_trl_work.fill(work, name, parameters)
        for key, parameter in parameters.items():
            assert [r for r in ("fwm", "idm") if torch.equal(saved[f"{r}/{key}"], parameter)] == (
                [role] if role else []
            )
    vs_trl_work.fill(replace(work, checkpoint=None), "policy", parameters)
    assert all(parameter.ne(0).all() for parameter in parameters.values())


def test_textworld_groups_score_the_text_of_the_phases():
    tokenizer = ScratchLM().tokenizer(["at kitchen", "go east"], Layout().markers)
    codec = TextCodec(tokenizer, {"": Layout()}, "delta", 512)
    code = codec.encode(t := Transition("e", 0, "at kitchen", "at hall", "go east"))
    layout, eos = codec.prompts(), (codec.eos,)
    group, z = vs_trl_textworld.elbo_group(codec, t), (7, 8, 9)
    assert group.prompt == layout.inverse(code.x, code.y)
    assert group.head + z + group.after + group.target == layout.forward(code.x, z) + code.y + eos
    group, y = vs_trl_textworld.vim_group(codec, t), (7, 8, 9)
    assert group.prompt == layout.forward(code.x, code.z)
    assert group.head + y + group.after + group.target == layout.inverse(code.x, y) + code.z + eos


def test_without_a_gpu_its_case_says_what_it_skipped(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = vs_trl.run_case("gpu", MODEL)
    assert "no GPU here: 8 points" in found["skipped"]
    assert {(p["prompt"], p["completion"], p["group"]) for p in found["points"]} == {
        (prompt, completion, group) for prompt in (1024, 4096) for completion in (32, 256) for group in (16, 64)
    }


def test_random_nf4_quantises_all_but_the_head():
    config = Qwen2Config(
        vocab_size=300, hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip
    model = vs_trl_work.random_nf4(config, torch.device("cpu"))
    layer = model.model.layers[0].mlp.up_proj
    assert layer.weight.quant_state.quant_type == "nf4"
    assert layer.weight.numel() == 64 * 128 // 2
    assert model.lm_head.weight.dtype == torch.bfloat16
    assert model(torch.tensor([[1, 2, 3]])).logits.isfinite().all()
    assert vs_trl_work.sizes(model, {}).trunk == 64 * (64 + 2 * 32 + 64 + 3 * 128)
