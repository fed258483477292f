"""Predicted bytes against those that torch allocates, counted by its profiler and by autograd's own hooks."""

import gc
import signal
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, LlamaConfig

from swirl_lightning.engine import MicroBatchSizes, Sampling
from swirl_lightning.engine.forest import plant
from swirl_lightning.models import FullWeights, LoraWeights, Policy
from swirl_lightning.plan.memory import NF4_BYTES, Memory
from swirl_lightning.plan.passes import Pass, largest
from swirl_lightning.plan.shapes import config_shape
from swirl_lightning.types import Answer

SHAPE = {
    "vocab_size": 4096, "hidden_size": 192, "intermediate_size": 512, "num_attention_heads": 6,
    "tie_word_embeddings": True, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": None,
}  # fmt: skip
KINDS = ("llama", "qwen2", "qwen3", "gemma", "phi", "phi3", "olmo2", "gpt2", "opt", "gpt_neox")
OWN = {
    "qwen3": {"head_dim": 32}, "gemma": {"head_dim": 32}, "gpt2": {"n_inner": 512},
    "opt": {"ffn_dim": 512, "word_embed_proj_dim": 192}, "gpt_neox": {"tie_word_embeddings": False},
}  # fmt: skip
RANK = 8


def made(kind="llama", layers=4, dtype=torch.float32, full=False, checkpointing=False):
    """A model's weights, and what is expected of their memory."""
    options = SHAPE | {"num_hidden_layers": layers, "num_key_value_heads": 2} | OWN.get(kind, {})
    if kind in ("gpt2", "opt", "gpt_neox"):
        del options["num_key_value_heads"]
    config = CONFIG_MAPPING[kind](**options)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    lora = LoraConfig(r=RANK, lora_alpha=8, target_modules="all-linear", lora_dropout=0.0)
    weights = FullWeights(model, ["a"]) if full else LoraWeights(model, ["a"], lora, torch.float32, checkpointing)
    rank = None if full else RANK
    memory = Memory(config_shape(config), dtype.itemsize, rank=rank, sets=1, checkpointing=checkpointing)
    return weights, memory


def kept_for_backward(weights, masked):
    """Bytes that autograd keeps of a forward pass of two rows of 64 tokens, weights apart."""
    model = weights.activate("a")
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(x):
        if x.untyped_storage().data_ptr() not in own:
            kept[x.untyped_storage().data_ptr()] = x
        return x

    mask = torch.ones(2, 1, 64, 64, dtype=torch.bool).tril() if masked else None
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        model.base_model(input_ids=torch.ones(2, 64, dtype=torch.long), attention_mask=mask, use_cache=False)
    return sum(x.untyped_storage().nbytes() for x in kept.values())


CLOSE = ("llama", "qwen2", "qwen3", "gemma")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("dtype", "full"), [("float32", False), ("bfloat16", False), ("float32", True)])
@pytest.mark.parametrize("kind", KINDS)
def test_what_autograd_keeps_of_a_layer(kind, dtype, full, masked):
    if kind == "opt" and masked:
        pytest.skip("it takes a mask of its own form")
    two, three = (made(kind, layers, getattr(torch, dtype), full) for layers in (2, 3))
    measured = kept_for_backward(three[0], masked) - kept_for_backward(two[0], masked)
    predicted = three[1]._saved(128) + three[1]._keys_saved(2, 64, 64, masked=masked)
    assert predicted == pytest.approx(measured, rel=0.03 if kind in CLOSE else 0.1)


def peak_bytes(work):
    """Most bytes that tensors took at once while ``work`` ran, beside those from before."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    nodes, events = list(profiler.profiler.kineto_results.experimental_event_tree()), []
    while nodes:
        node = nodes.pop()
        nodes += node.children
        if node.tag == _EventType.Allocation:
            events.append((node.start_time_ns, node.extra_fields.alloc_size))
    live = most = 0
    for _, size in sorted(events, key=lambda event: event[0]):
        live += size
        most = max(most, live)
    return most


CASES = {  # P, L, G, T, rows at a time, options
    "one group": (1, 512, 8, 16, 8, {}),
    "bfloat16": (1, 512, 8, 16, 8, {"dtype": torch.bfloat16}),
    "pieces": (1, 256, 8, 32, 4, {}),
    "two groups": (2, 192, 8, 24, 16, {}),
    "checkpointed": (1, 384, 8, 24, 8, {"checkpointing": True}),
    "supervised": (4, 192, 1, 32, 4, {}),
    "from scratch": (1, 384, 8, 16, 8, {"full": True}),
    "qwen3": (1, 384, 8, 16, 8, {"kind": "qwen3"}),
}


@pytest.mark.parametrize("kind", ["generation", "scoring", "update"])
@pytest.mark.parametrize("case", CASES)
def test_peak_of_a_pass(case, kind):
    """Within 15 %, weights apart: with them the share of what is uncertain is smaller."""
    P, L, G, T, size, options = CASES[case]
    weights, memory = made(**options)
    policy = Policy(weights, "a", Answer(), sizes=MicroBatchSizes(size, size, size))
    weights.set_trainable("a")
    prompts = [tuple(torch.randint(1, 4096, (L,)).tolist()) for _ in range(P)]
    rows = [tuple(torch.randint(1, 4096, (T,)).tolist()) for _ in range(P * G)]
    prompt_of, scored = torch.arange(P).repeat_interleave(G), [T] * len(rows)

    def update():
        policy.accumulate(
            prompts, prompt_of, rows, scored, lambda _, scores: (scores.logp.sum(), 0),
            plain=True,
        )  # fmt: skip

    def score():
        with torch.no_grad():
            policy.logprobs(prompts, prompt_of, rows, scored)

    def generate():
        policy.generate(prompts, range(P), group_size=G, max_tokens=T, sampling=Sampling())

    for parameter in policy.parameters():
        parameter.grad = torch.zeros_like(parameter)
    measured = peak_bytes({"generation": generate, "scoring": score, "update": update}[kind])
    parts = memory.peak(Pass(kind, "", P, G, L, T), size)
    undo = sum(p.nbytes for p in policy.parameters()) if kind == "update" else 0
    predicted = parts.cache + parts.activations + parts.head + undo
    assert predicted == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize("case", ["all", "some"])
def test_texts_of_another_shape_beside_a_group(case):
    """All together: within 15 %; fewer at a time than all: as the plan of the larger shape."""
    weights, memory = made()
    L, G, T, shown = 384, 2, 16, 3
    prompts = [tuple(torch.randint(1, 4096, (L,)).tolist()) for _ in range(1 + shown)]
    rows = [tuple(torch.randint(1, 4096, (T,)).tolist()) for _ in range(G + shown)]
    prompt_of = torch.tensor([0] * G + list(range(1, shown + 1)))
    work = Pass("update", "", 1, G, L, T, beside=Pass("update", "", shown, 1, L, T))
    size = work.most if case == "all" else 3
    policy = Policy(weights, "a", Answer(), sizes=MicroBatchSizes(update=size))
    weights.set_trainable("a")
    for parameter in policy.parameters():
        parameter.grad = torch.zeros_like(parameter)

    def update():
        policy.accumulate(
            prompts, prompt_of, rows, [T] * len(rows), lambda _, scores: (scores.logp.sum(), 0), plain=True,
            temperature=0.7, shown=range(G, G + shown),
        )  # fmt: skip

    measured = peak_bytes(update)
    parts = memory.peak(work, size)
    predicted = parts.cache + parts.activations + parts.head + sum(p.nbytes for p in policy.parameters())
    assert predicted == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize("kind", ["generation", "scoring", "update"])
def test_a_head_that_is_confined_to_some_ids(kind):
    """Of 32,768 ids 8,192 may be chosen: logits, log-probs and draws are as narrow; within 15 % of the bytes."""
    config = LlamaConfig(**(SHAPE | {"vocab_size": 32768}), num_hidden_layers=1)
    weights = FullWeights(AutoModelForCausalLM.from_config(config), ["a"])
    memory = Memory(config_shape(config), 4, rank=None, sets=1)
    answer, rows, T = Answer(allowed=(1000, 9191), length=4), [(1000 + n, 1200, 9191, 1000) for n in range(32)], 4
    policy, prompt_of = Policy(weights, "a", answer), torch.zeros(32, dtype=torch.long)
    for parameter in policy.parameters():
        parameter.grad = torch.zeros_like(parameter)

    def make():
        if kind == "generation":
            policy.generate([(1, 2, 3)], [0], group_size=32, max_tokens=T, sampling=Sampling())
        elif kind == "scoring":
            with torch.no_grad():
                policy.logprobs([(1, 2, 3)], prompt_of, rows, [T] * 32)
        else:
            policy.accumulate(
                [(1, 2, 3)], prompt_of, rows, [T] * 32, lambda _, scores: (scores.logp.sum(), 0), plain=True
            )

    measured = peak_bytes(make)
    work = Pass(kind, "", 1, 32, 3, T, choices=8192)
    undo = sum(p.nbytes for p in policy.parameters()) if kind == "update" else 0

    def predicted(work):
        parts = memory.peak(work, 32)
        return parts.cache + parts.activations + parts.head + undo

    assert predicted(work) == pytest.approx(measured, rel=0.15)
    if kind == "generation":
        assert predicted(replace(work, choices=None)) > 3 * measured


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.7, top_k=500)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_of_a_large_vocabulary(dtype, sampling):
    """Where they outweigh all else, as in the last steps of a large group."""
    config = LlamaConfig(**(SHAPE | {"vocab_size": 32768}), num_hidden_layers=1)
    weights = FullWeights(AutoModelForCausalLM.from_config(config, dtype=dtype), ["a"])
    memory = Memory(config_shape(config), dtype.itemsize, rank=None)
    policy = Policy(weights, "a", Answer())
    work = Pass("generation", "", 1, 32, 3, 4, truncated=sampling.truncated, support=500)
    parts = memory.peak(work, 32)
    measured = peak_bytes(lambda: policy.generate([(1, 2, 3)], [0], group_size=32, max_tokens=4, sampling=sampling))
    assert parts.cache + parts.activations + parts.head == pytest.approx(measured, rel=0.05)


def test_supports_are_counted():
    weights, memory = made()
    policy = Policy(weights, "a", Answer())
    prompts, sampling = [tuple(range(1, 65))] * 2, Sampling(0.7, 0.9)
    rollouts = policy.generate(prompts, range(2), group_size=8, max_tokens=24, sampling=sampling)
    rows = [tuple(ids) for ids in rollouts.ids.tolist()]

    def score():
        with torch.no_grad():
            policy.logprobs(prompts, rollouts.prompt_of, rows, [24] * len(rows), support=rollouts.support)

    def generate():
        policy.generate(prompts, range(2), group_size=8, max_tokens=24, sampling=sampling)

    work = Pass("generation", "", 2, 8, 64, 24, truncated=True, support=rollouts.support.shape[2])
    parts = memory.peak(work, 16)
    assert parts.cache + parts.activations + parts.head == pytest.approx(peak_bytes(generate), rel=0.15)
    parts = memory.peak(Pass("scoring", "", 2, 8, 64, 24, truncated=True, support=rollouts.support.shape[2]), 16)
    measured = peak_bytes(score) + rollouts.support.nbytes
    assert parts.cache + parts.activations + parts.head == pytest.approx(measured, rel=0.15)


def test_weights_and_optimiser():
    weights, memory = made()
    parts = memory.resident()
    base = {id(p): p.nbytes for p in weights.model.parameters()}
    adapter = sum(p.nbytes for p in weights.named("a").values())
    assert parts.adapters == adapter
    assert parts.base == sum(base.values()) - adapter
    optimizer = torch.optim.AdamW(weights.named("a").values())
    for parameter in weights.named("a").values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moments = sum(x.nbytes for state in optimizer.state.values() for x in state.values() if x.ndim)
    assert parts.optimiser == moments + 2 * adapter


def test_bytes_of_nf4():
    bitsandbytes = pytest.importorskip("bitsandbytes")
    layer = bitsandbytes.nn.Linear4bit(1024, 2048, bias=False, quant_type="nf4", compress_statistics=True).to("cpu")
    state = layer.weight.quant_state
    scales = state.absmax.nbytes + state.state2.absmax.nbytes
    assert layer.weight.nbytes + scales == pytest.approx(NF4_BYTES * 1024 * 2048, rel=1e-3)


@pytest.mark.parametrize(("P", "L", "G", "T"), [(1, 64, 8, 16), (2, 4096, 16, 200), (3, 10, 5, 100), (1, 9, 4, 1)])
def test_lanes_are_those_of_the_engine(P, L, G, T):
    rows = [tuple(torch.randint(1, 10**6, (T,)).tolist()) for _ in range(P * G)]
    forest = plant([(1,) * L] * P, [n // G for n in range(P * G)], rows, [T] * len(rows))
    lanes, nodes = Pass("scoring", "", P, G, L, T).lanes(P * G)
    assert lanes * nodes == forest.ids.numel()


@pytest.fixture
def ten_seconds():
    """Ends what does not end."""

    def stop(*args):
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(10)
    yield
    signal.alarm(0)


@pytest.mark.parametrize("kind", ["generation", "scoring", "update"])
def test_the_smallest_texts_are_planned_too(kind, ten_seconds):
    """Texts that grow by half of nothing would never have room."""
    _, memory = made(layers=1)
    for L in range(4):
        totals = [memory.peak(Pass(kind, "", 2, 3, L, T), 2).total for T in (1, 2, 3, 500)]
        assert totals == sorted(totals)
        assert 0 < totals[0] < float("inf")


def test_largest():
    assert [largest(lambda n, limit=limit: n <= limit, 10) for limit in (0, 1, 7, 10, 30)] == [0, 1, 7, 10, 10]
