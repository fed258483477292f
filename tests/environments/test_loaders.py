import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from swirl_lightning.environments.loaders import EvalLoader, PhaseLoader
from swirl_lightning.types import Transition

POOL = [Transition("a", i, "", "") for i in range(10)]
LABELLED = [Transition("b", i, "", "", "go") for i in range(3)]


def steps(loader):
    return [[t.step for t in batch.pairs] for batch in loader]


def test_one_pass_gives_everything_once():
    loader = PhaseLoader(POOL, [], batch_size=5, updates=None, seed=0)
    assert len(loader) == 2
    given_out = [step for batch in steps(loader) for step in batch]
    assert sorted(given_out) == list(range(10))
    assert given_out != list(range(10))


def test_batches_are_full_and_permutations_follow_each_other():
    loader = PhaseLoader(POOL, LABELLED, batch_size=4, updates=10, seed=(0, 3), anchor_size=4)
    batches = list(loader)
    assert all(len(batch) == 4 and len(batch.labelled) == 4 for batch in batches)
    pairs = [t.step for batch in batches for t in batch.pairs]
    permutations = [pairs[start : start + 10] for start in range(0, 40, 10)]
    assert all(sorted(permutation) == list(range(10)) for permutation in permutations)
    assert len({tuple(permutation) for permutation in permutations}) == 4
    anchors = [t.step for batch in batches for t in batch.labelled]
    assert all(sorted(anchors[start : start + 3]) == [0, 1, 2] for start in range(0, 39, 3))


def test_the_seed_decides():
    def order(seed):
        return steps(PhaseLoader(POOL, [], batch_size=3, updates=7, seed=seed))

    assert order((0, 1)) == order((0, 1))
    assert order((0, 1)) != order((1, 1))
    assert order((0, 1)) != order((0, 2))


@given(batch_size=st.integers(1, 13), updates=st.integers(1, 9), stop=st.integers(0, 9))
def test_it_goes_on_where_it_stopped(batch_size, updates, stop):
    def make():
        return PhaseLoader(POOL, LABELLED, batch_size=batch_size, updates=updates, seed=1, anchor_size=2)

    whole, first, second = steps(make()), make(), make()
    head = [[t.step for t in batch.pairs] for batch, _ in zip(first, range(min(stop, updates)), strict=False)]
    state = {"position": len(head)}
    if stop < updates:
        second.load_state_dict(state)
        assert head + steps(second) == whole


def test_the_position_counts_the_batch_in_hand():
    loader = PhaseLoader(POOL, [], batch_size=2, updates=5, seed=0)
    batches = iter(loader)
    next(batches)
    next(batches)
    assert loader.state_dict() == {"position": 2}


def test_ranks_share_an_update():
    one = PhaseLoader(POOL, LABELLED, batch_size=4, updates=6, seed=0, anchor_size=2)
    two = [
        PhaseLoader(POOL, LABELLED, batch_size=2, updates=6, seed=0, anchor_size=1, rank=rank, world_size=2)
        for rank in (0, 1)
    ]
    for whole, left, right in zip(one, *two, strict=True):
        assert whole.pairs == left.pairs + right.pairs
        assert whole.labelled == left.labelled + right.labelled
    assert len(PhaseLoader(POOL, [], batch_size=2, updates=None, seed=0, world_size=2)) == 3


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_mixture_permutes_each_pool_once_a_pass(monkeypatch, world_size):
    sizes = {"web": 40, "tool": 100}
    pool = [Transition(name, i, "", "", "go", name) for name, size in sizes.items() for i in range(size)]
    permuted = []
    permute = torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda n, **options: permuted.append(n) or permute(n, **options))
    loader = PhaseLoader(
        pool, pool, batch_size=6, updates=100, seed=0, weights={"web": 1, "tool": 2}, anchor_size=6,
        rank=world_size - 1, world_size=world_size,
    )  # fmt: skip
    assert sum(len(batch.pairs) + len(batch.labelled) for batch in loader) == 1200
    # 100 updates of 6 take 200 and 400 of the two pools, times the number of processes, for pairs and for the anchor
    assert permuted.count(40) == 2 * 5 * world_size
    assert permuted.count(100) == 2 * 4 * world_size
    assert permuted.count(3) == 2 * 200  # the turns of each round that this process takes part in


@pytest.mark.parametrize("world_size", [1, 3, 11])
def test_evaluation_sees_everything_once(world_size):
    loaders = [EvalLoader(POOL, 2, rank, world_size) for rank in range(world_size)]
    assert all(len(loader) == len(list(loader)) for loader in loaders)
    assert sorted(t.step for loader in loaders for batch in loader for t in batch) == list(range(10))
