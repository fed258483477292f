"""Several environments in one run: weights, names, metrics, and no action through the door."""

from collections import Counter

import pytest

from swirl_lightning.codecs import Layout
from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.environments.loaders import PhaseLoader
from swirl_lightning.environments.mixture import MixtureDataModule
from swirl_lightning.types import InputError


class Made(TransitionDataModule):
    layout = Layout(start="Made:\n")

    def __init__(self, splits, **kwargs):
        super().__init__(**kwargs)
        self.splits = splits

    def load(self, split):
        return self.splits[split]


@pytest.fixture
def made(episode):
    def make(name, **kwargs):
        lengths = {"labelled": 6, "state_only": 8, "validation": 3, "test": 5}
        return Made({split: episode(f"{name}-{split}", length) for split, length in lengths.items()}, **kwargs)

    return make


@pytest.fixture
def mixture(made):
    return MixtureDataModule({"web": made("w", num_labels=2), "tool": made("t", eval_limit=1)}, {"web": 1, "tool": 3})


def test_every_transition_carries_the_name_of_its_environment(mixture):
    mixture.setup()
    for split, counts in {"labelled": (2, 6), "state_only": (8, 8), "validation": (3, 1), "test": (5, 1)}.items():
        found = Counter(t.environment for t in getattr(mixture, split))
        assert found == {"web": counts[0], "tool": counts[1]}, split
        assert all(t.episode.startswith(t.environment[0]) for t in getattr(mixture, split))
    assert all(t.action is None for t in mixture.state_only)


def test_rounds_follow_the_weights(mixture):
    mixture.setup()
    loader = PhaseLoader(mixture.state_only, [], batch_size=4, updates=40, seed=0, weights=mixture.weights)
    batches = list(loader)
    assert all(Counter(t.environment for t in batch.pairs) == {"web": 1, "tool": 3} for batch in batches)
    assert len({tuple(t.environment for t in batch.pairs) for batch in batches}) > 1  # in no fixed order
    for name, share in (("web", 1), ("tool", 3)):
        order = [t.step for batch in batches for t in batch.pairs if t.environment == name]
        assert len(order) == 40 * share
        assert all(sorted(order[i : i + 8]) == list(range(8)) for i in range(0, len(order) - 7, 8))  # permutations


def test_ranks_and_resume_share_one_stream(mixture):
    mixture.setup()

    def batches(size, rank=0, world=1, skip=0):
        loader = PhaseLoader(
            mixture.state_only, mixture.labelled, batch_size=size, updates=6, seed=3, weights=mixture.weights,
            anchor_size=size, rank=rank, world_size=world,
        )  # fmt: skip
        loader.load_state_dict({"position": skip})
        return [(batch.pairs, batch.labelled) for batch in loader]

    whole = batches(6)
    parts = [batches(3, rank, 2) for rank in (0, 1)]
    assert [(a + c, b + d) for (a, b), (c, d) in zip(*parts, strict=True)] == whole
    assert batches(6, skip=4) == whole[4:]


def test_parts_are_what_prompts_and_metrics_are_chosen_by(mixture):
    assert {name: part.layout.start for name, part in mixture.parts().items()} == {"web": "Made:\n", "tool": "Made:\n"}


def test_the_seed_is_one(made):
    parts = {"web": made("w", num_labels=3), "tool": made("t", num_labels=3)}
    mixture = MixtureDataModule(parts, seed=5)
    assert [part.seed for part in parts.values()] == [5, 5]
    assert mixture.weights == {"web": 1, "tool": 1}


@pytest.mark.parametrize("weights", [{"web": 1}, {"web": 1, "tool": 0}, {"web": 1, "tool": 1, "other": 1}])
def test_wrong_weights(made, weights):
    with pytest.raises(InputError, match=r"data\.weights: found .* from 1 for each of web, tool"):
        MixtureDataModule({"web": made("w"), "tool": made("t")}, weights)


def test_a_single_environment_is_no_mixture(made):
    with pytest.raises(InputError, match=r"data\.environments: found \['web'\], expected two or more names"):
        MixtureDataModule({"web": made("w")})


def test_an_empty_split_is_named(made):
    tool = made("t")
    tool.splits["test"] = []
    with pytest.raises(InputError, match=r"data\.environments\.tool: the split 'test' is empty"):
        MixtureDataModule({"web": made("w"), "tool": tool}).setup()
