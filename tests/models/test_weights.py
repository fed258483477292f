"""Named weight sets: who trains, who is frozen, and that a set is a set of its own."""

import pytest
import torch
from peft import LoraConfig

from swirl_lightning.models import FullWeights, LoraWeights, Policy
from swirl_lightning.types import Answer, InputError

NAMES = ("fwm", "idm", "reference", "spare")
EOS = 0


@pytest.fixture
def make_weights(tiny_model):
    def make(kind, names=NAMES, rank=2):
        if kind == "full":
            return FullWeights(tiny_model(), names)
        config = LoraConfig(r=rank, lora_alpha=4, target_modules="all-linear", lora_dropout=0.0)
        return LoraWeights(tiny_model(), names, config)

    return make


@pytest.fixture(params=("full", "lora"))
def weights(request, make_weights):
    """Four sets whose values all differ."""
    made = make_weights(request.param)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name in NAMES:
            for parameter in made.named(name).values():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return made


def scores(weights, name):
    rows = [(3, 4, 5), (9, EOS), (1,)]
    return Policy(weights, name, Answer(EOS)).logprobs([(7, 8), (2,)], torch.tensor([0, 0, 1]), rows, [3, 2, 1]).logp


def trainable(weights):
    return {name for name in weights.names if all(p.requires_grad for p in weights.named(name).values())}


def frozen(weights):
    return {name for name in weights.names if not any(p.requires_grad for p in weights.named(name).values())}


def test_sets_are_apart(weights):
    parameters = [p for name in NAMES for p in weights.named(name).values()]
    assert len({p.data_ptr() for p in parameters}) == len(parameters)
    assert len({tuple(weights.named(name)) for name in NAMES}) == 1  # the same keys
    values = torch.stack([scores(weights, name).detach() for name in NAMES])
    for i in range(4):
        for j in range(i):
            assert (values[i] - values[j]).abs().max() > 1e-3


def test_set_trainable(weights):
    for chosen in ((), ("fwm",), ("idm",), ("fwm", "idm")):
        weights.set_trainable(*chosen)
        assert trainable(weights) == set(chosen)
        assert frozen(weights) == set(NAMES) - set(chosen)
        assert weights.names == NAMES


def test_frozen_sets_lose_their_gradients(weights):
    weights.set_trainable("fwm")
    scores(weights, "fwm").sum().backward()
    assert any(p.grad is not None for p in weights.named("fwm").values())
    weights.set_trainable("idm")
    assert all(p.grad is None for name in NAMES for p in weights.named(name).values())


def test_activate_changes_no_requires_grad(weights):
    for chosen in (("fwm",), ("fwm", "idm"), ()):
        weights.set_trainable(*chosen)
        for name in (*NAMES, *NAMES[::-1], "idm"):
            weights.activate(name)
            assert trainable(weights) == set(chosen)
            assert frozen(weights) == set(NAMES) - set(chosen)


def test_gradients_stop_at_a_frozen_set(weights):
    """A frozen policy in between, as in a phase: only the learner gets gradients."""
    weights.set_trainable("fwm")
    loss = scores(weights, "fwm").sum()
    assert not scores(weights, "idm").requires_grad
    assert not scores(weights, "reference").requires_grad
    loss.backward()
    got = [p for p in weights.parameters() if p.grad is not None]
    own = list(weights.named("fwm").values())
    assert {id(p) for p in got} <= {id(p) for p in own}
    assert sum(float(p.grad.abs().sum()) for p in got) > 0


def test_copy_is_a_snapshot(weights):
    weights.copy("fwm", "reference")
    assert torch.equal(scores(weights, "fwm"), scores(weights, "reference"))
    before = {name: scores(weights, name).detach() for name in NAMES}
    with torch.no_grad():
        for parameter in weights.named("fwm").values():
            parameter.add_(0.1)
    assert not torch.allclose(scores(weights, "fwm"), before["fwm"])
    for name in NAMES[1:]:
        assert torch.equal(scores(weights, name), before[name])


def test_switching_moves_no_tensor(weights):
    pointers = {name: p.data_ptr() for name, p in weights.named_parameters()}
    for name in (*NAMES, "fwm"):
        weights.activate(name)
    assert {name: p.data_ptr() for name, p in weights.named_parameters()} == pointers


def test_tensors_round_trip(weights, make_weights):
    kind = "full" if isinstance(weights, FullWeights) else "lora"
    saved = {key: value.clone() for key, value in weights.tensors().items()}
    other = make_weights(kind)
    pointers = [p.data_ptr() for p in other.parameters()]
    assert not torch.allclose(scores(other, "idm"), scores(weights, "idm"))
    other.load_tensors(saved)
    for name in NAMES:
        assert torch.equal(scores(other, name), scores(weights, name))
    assert [p.data_ptr() for p in other.parameters()] == pointers  # optimisers hold these very tensors


def test_a_foreign_checkpoint_is_refused(weights):
    saved = weights.tensors()
    first = sorted(saved)[0]
    missing = {key: value for key, value in saved.items() if key != first}
    extra = saved | {"theirs/weight": torch.zeros(2)}
    reshaped = saved | {first: torch.zeros(3, 5, 7)}
    before = {key: value.clone() for key, value in saved.items()}
    for tensors, message in ((missing, "absent"), (extra, "'theirs/weight'"), (reshaped, r"\(3, 5, 7\)")):
        with pytest.raises(InputError, match=message):
            weights.load_tensors(tensors)
    assert all(torch.equal(value, before[key]) for key, value in weights.tensors().items())


def test_stays_in_evaluation_mode(weights):
    torch.nn.ModuleList([weights]).train()
    assert not any(module.training for module in weights.modules())


def test_lora_has_one_frozen_base(make_weights, tiny_model):
    weights = make_weights("lora")
    base = sum(p.numel() for p in tiny_model().parameters())
    adapters = [p for name in NAMES for p in weights.named(name).values()]
    assert sum(p.numel() for p in weights.parameters()) == base + sum(p.numel() for p in adapters)
    own = {id(p) for p in adapters}
    weights.set_trainable(*NAMES)
    scores(weights, "fwm").sum().backward()
    for p in weights.parameters():
        if id(p) not in own:
            assert not p.requires_grad
            assert p.grad is None
    # what is saved are the adapters alone
    assert sum(value.numel() for value in weights.tensors().values()) == sum(p.numel() for p in adapters)


def test_a_fresh_adapter_is_the_base(make_weights, tiny_model):
    full, lora = FullWeights(tiny_model(), ["fwm"]), make_weights("lora")
    torch.testing.assert_close(scores(lora, "spare"), scores(full, "fwm"))


def test_the_base_without_adapters(weights, tiny_model):
    """Where there is a base, the empty name gives it as it was loaded, and coming back changes nothing."""
    if not weights.has_base:
        assert isinstance(weights, FullWeights)
        return
    before = scores(weights, "idm")
    weights.set_trainable("fwm")
    torch.testing.assert_close(scores(weights, ""), scores(FullWeights(tiny_model(), ["base"]), "base").detach())
    assert not scores(weights, "").requires_grad
    assert trainable(weights) == {"fwm"}
    assert torch.equal(scores(weights, "idm"), before)
    assert scores(weights, "fwm").requires_grad


def test_a_name_inside_another_is_not_mixed_up(make_weights):
    weights = make_weights("lora", names=("a", "a_ref", "lora_a"))
    keys = [set(map(id, weights.named(name).values())) for name in weights.names]
    assert len(keys[0] | keys[1] | keys[2]) == 3 * len(keys[0])
