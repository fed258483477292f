"""Steps on fixed tensors, and replayed ones, give what ordinary steps give."""

import logging

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from swirl_lightning.engine import Sampling
from swirl_lightning.engine.decoding import FixedStep, GrowingStep, cuda_graph, decoding_step, unrecordable
from swirl_lightning.engine.sampling import grow, uniforms
from swirl_lightning.engine.shared_prefix import encode_prefix
from swirl_lightning.types import Answer

EOS = 0
PROMPTS = [(5, 9, 3), (8,), (4, 4, 7, 30, 2, 19, 11), (8, 8)]
GROUP, TOKENS = 6, 40
KINDS = ("llama", "qwen2", "qwen3", "gemma", "phi")


class Recording(TorchDispatchMode):
    """Does to tensors what a CUDA graph does: the same operations on the same memory, deaf to Python."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten._local_scalar_dense.default, "a recorded step may not wait for a number"
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    def again(self):
        for func, args, kwargs, out in self.calls:
            fresh = func(*args, **kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(fresh), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def recorder(counts):
    """Records steps, and counts recordings and replays."""

    def record(step):
        counts["recorded"] += 1
        with Recording() as recording:
            hidden = step()

        def replay():
            counts["replayed"] += 1
            recording.again()
            return hidden

        return replay

    return record


def drawn(model, make_step, sampling=Sampling(), prompts=PROMPTS):  # noqa: B008
    with torch.no_grad():
        prefix = encode_prefix(model, prompts)
        numbers = uniforms(range(len(prompts)), GROUP, TOKENS).flatten(0, 1)
        prompt_of = [p for p in range(len(prompts)) for _ in range(GROUP)]
        return grow(model, prefix, prompt_of, numbers, Answer(EOS), sampling, make_step(model, prefix))


@pytest.mark.parametrize("kind", KINDS)
def test_a_replayed_step_is_the_step(kind, tiny_model):
    """Ragged prompts, rows that part, samples and prompts that end at different times, and tensors that fill up."""
    model, counts = tiny_model(kind), {"recorded": 0, "replayed": 0}
    sampling = Sampling(temperature=0.7)
    expected = drawn(model, GrowingStep, sampling)
    ended = [tokens.index(EOS) for tokens in expected.tokens.tolist() if EOS in tokens]
    assert len(set(ended)) > 2
    found = drawn(model, lambda m, prefix: FixedStep(m, prefix, recorder(counts)), sampling)
    assert torch.equal(found.tokens, expected.tokens)
    torch.testing.assert_close(found.logp, expected.logp, atol=1e-4, rtol=1e-4)
    assert counts["replayed"] > 4 * counts["recorded"] > 4  # it filled up, and was still recorded rarely


def test_prompts_that_have_ended_are_not_read(tiny_model):
    model = tiny_model("llama")
    with torch.no_grad():
        prefix = encode_prefix(model, PROMPTS)
        step, plain = FixedStep(model, prefix, lambda forward: forward), GrowingStep(model, prefix)
        ids, kept = torch.tensor([[3, 4, 6], [5, 6, 4], [7, 8, 1], [9, 10, 2]]), torch.tensor([0, 2])
        own = torch.eye(3, dtype=torch.bool).expand(4, 3, 3)
        allowed = torch.cat([prefix.mask[:, None].expand(-1, 3, -1), own], dim=2)
        position = prefix.mask.sum(1)
        torch.testing.assert_close(step(ids, allowed, position), plain(ids, allowed, position))
        step.keep(kept)
        plain.keep(kept)
        allowed = torch.cat([allowed[kept][:, :1], torch.ones(2, 1, 1, dtype=torch.bool)], dim=2)
        one = step(ids[kept, :1], allowed, position[kept] + 1)
        assert one.shape[:2] == (2, 1)
        assert step.allowed.any(-1).all()  # on some devices the attention of a row that sees nothing is not a number
        torch.testing.assert_close(one, plain(ids[kept, :1], allowed, position[kept] + 1))


def test_a_cpu_records_nothing(tiny_model):
    model = tiny_model("llama")
    with torch.no_grad():
        assert isinstance(decoding_step(model, encode_prefix(model, PROMPTS), 512), GrowingStep)


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: CUDA graphs are not tried")


@gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_cuda_graph_is_the_step(kind, tiny_model):
    model = tiny_model(kind).cuda()
    expected = drawn(model, GrowingStep)
    found = drawn(model, lambda m, prefix: decoding_step(m, prefix, TOKENS))
    assert model not in unrecordable
    assert torch.equal(found.tokens, expected.tokens)
    torch.testing.assert_close(found.logp, expected.logp, atol=1e-4, rtol=1e-4)


@gpu
def test_a_model_that_cannot_be_recorded_is_read_step_by_step(tiny_model, caplog):
    model = tiny_model("llama").cuda()
    expected = drawn(model, GrowingStep)
    model.base_model.register_forward_hook(lambda module, args, output: output.last_hidden_state.sum().item())
    with caplog.at_level(logging.WARNING):
        found = drawn(model, lambda m, prefix: FixedStep(m, prefix, lambda step: cuda_graph(m, step)))
    assert "decoding steps are not recorded as CUDA graphs" in caplog.text
    assert model in unrecordable
    assert isinstance(decoding_step(model, encode_prefix(model, PROMPTS), 512), GrowingStep)
    assert torch.equal(found.tokens, expected.tokens)
