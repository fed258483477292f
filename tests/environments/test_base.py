import logging
from collections import Counter
from dataclasses import replace

import lightning as L
import pytest
import torch

from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.environments.splits import kind
from swirl_lightning.modules.schedule import NamedStage, Stage
from swirl_lightning.types import Batch, InputError

LENGTHS = {"labelled": 20, "state_only": 30, "validation": 7, "test": 9}


class Made(TransitionDataModule):
    """Every split in memory; the state-only half comes with actions, as a careless log would."""

    def __init__(self, splits, **kwargs):
        super().__init__(**kwargs)
        self.splits = splits

    def load(self, split):
        return self.splits[split]


class Recorder(L.LightningModule):
    """Notes the batches it is given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.train_batches, self.eval_batches = [], []

    def training_step(self, batch, batch_idx):
        self.train_batches.append(batch)
        return self.weight.sum()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.eval_batches.append((dataloader_idx, batch))

    def test_step(self, batch, batch_idx):
        self.eval_batches.append((0, batch))

    predict_step = test_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def splits(episode):
    return {name: episode(name, length) for name, length in LENGTHS.items()}


def trainer(tmp_path):
    return L.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def fit(tmp_path, data, stage, index=0, module=None, **kwargs):
    module = module or Recorder()
    data.draw = NamedStage(index, stage.phase, 0, stage).draw  # as the loop does
    trainer(tmp_path).fit(module, data, **kwargs)
    return module


@pytest.mark.filterwarnings("ignore:data. the state-only half", "ignore:.*limit_.*", "ignore:.*num_workers.*")
class TestLoaders:
    @pytest.mark.parametrize("phase", ["vim", "elbo", "bootstrap", "pretrain"])
    def test_no_action_reaches_a_state_only_phase(self, tmp_path, splits, phase):
        module = fit(tmp_path, Made(splits), Stage(phase))
        assert module.train_batches
        assert all(isinstance(batch, Batch) for batch in module.train_batches)
        assert all(t.action is None for batch in module.train_batches for t in batch.pairs)

    @pytest.mark.parametrize(
        ("phase", "pools", "anchored"),
        [
            ("pretrain", {"labelled", "state_only"}, False),
            ("sft", {"labelled"}, False),
            ("bootstrap", {"state_only"}, True),
            ("vim", {"state_only"}, True),
            ("elbo", {"state_only"}, True),
        ],
    )
    def test_each_phase_has_its_pools(self, tmp_path, splits, phase, pools, anchored):
        batches = fit(tmp_path, Made(splits), Stage(phase, updates=20, batch_size=5)).train_batches
        assert len(batches) == 20
        assert {t.episode for batch in batches for t in batch.pairs} == pools
        assert {len(batch.labelled) for batch in batches} == ({5} if anchored else {0})
        assert all(t.action and t.episode == "labelled" for batch in batches for t in batch.labelled)

    @pytest.mark.parametrize("size", [20, 21, 1_000_000, 10**15])
    def test_a_batch_is_no_larger_than_what_it_is_drawn_from(self, tmp_path, splits, size, caplog):
        with caplog.at_level(logging.WARNING, "swirl_lightning"):
            (batch,) = fit(tmp_path, Made(splits), Stage("sft", batch_size=size)).train_batches
        assert sorted(t.step for t in batch.pairs) == list(range(20))
        assert [f"batch_size is {size}, and it has 20" in record.getMessage() for record in caplog.records] == (
            [True] if size > 20 else []
        )

    def test_the_order_follows_from_seed_and_stage(self, tmp_path, splits):
        def order(seed, index):
            batches = fit(tmp_path, Made(splits, seed=seed), Stage("sft", updates=3), index).train_batches
            return [t.step for batch in batches for t in batch.pairs]

        assert order(0, 0) == order(0, 0)
        assert order(0, 0) != order(0, 1)
        assert order(0, 0) != order(1, 0)

    def test_a_stopped_phase_goes_on_with_the_next_batch(self, tmp_path, splits):
        whole = fit(tmp_path, Made(splits), Stage("vim", updates=6)).train_batches

        class Stop(Recorder):
            def on_train_batch_end(self, outputs, batch, batch_idx):
                if batch_idx == 2:
                    self.trainer.save_checkpoint(tmp_path / "mid.ckpt")

        fit(tmp_path, Made(splits), Stage("vim", updates=6), module=Stop())
        rest = fit(tmp_path, Made(splits), Stage("vim", updates=6), ckpt_path=tmp_path / "mid.ckpt").train_batches
        assert [batch.pairs for batch in rest] == [batch.pairs for batch in whole[3:]]

    def test_evaluation(self, tmp_path, splits):
        data = Made(splits, eval_batch_size=4)
        module = fit(tmp_path, data, Stage("sft", updates=1))
        seen = [[t for i, batch in module.eval_batches if i == index for t in batch] for index in (0, 1)]
        assert seen == [splits["test"], splits["validation"]]
        assert all(type(batch) is list and len(batch) <= 4 for _, batch in module.eval_batches)
        for run, expected in (("validate", "validation"), ("test", "test"), ("predict", "test")):
            module = Recorder()
            getattr(trainer(tmp_path), run)(module, data)
            assert [t for _, batch in module.eval_batches for t in batch] == splits[expected]

    def test_an_empty_split_is_named_with_the_phase_that_needs_it(self, tmp_path, splits):
        data = Made(splits | {"state_only": []})
        with pytest.raises(InputError, match="the split 'state_only' is empty, but the stage 'vim' needs it"):
            fit(tmp_path, data, Stage("vim"))


def test_actions_are_dropped_at_the_door_with_one_warning(splits):
    data = Made(splits)
    with pytest.warns(UserWarning, match="the state-only half has 30 actions; they are left out") as caught:
        data.setup()
    assert len(caught) == 1
    assert [replace(t, action=None) for t in splits["state_only"]] == data.state_only


def test_the_splits_are_loaded_once(splits, monkeypatch):
    data = quiet(splits)
    data.setup()
    monkeypatch.setattr(data, "load", None)
    data.setup()
    assert data.labelled == splits["labelled"]


@pytest.mark.parametrize("split", ["labelled", "validation", "test"])
def test_a_missing_action_is_named(splits, split):
    splits[split][3] = replace(splits[split][3], action=None)
    with pytest.raises(InputError, match=f"{split}: episode '{split}', step 3: found no action"):
        quiet(splits).setup()


def quiet(splits, **kwargs):
    return Made(splits | {"state_only": [replace(t, action=None) for t in splits["state_only"]]}, **kwargs)


def chosen(splits, **kwargs):
    data = quiet(splits, **kwargs)
    data.setup()
    return data.labelled


@pytest.mark.parametrize("field", ["episode", "state", "next_state", "action"])
def test_half_a_surrogate_pair_is_refused_in_every_world(splits, field):
    splits["labelled"][3] = replace(splits["labelled"][3], **{field: "half \ud83d"})
    with pytest.raises(InputError, match=r"data: labelled: episode .*: found half a surrogate pair"):
        Made(splits).setup()


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("door open", r"labelled: found 'door open' \(str\) at place 3, expected a Transition"),
        ({"state": 3}, r"labelled: episode '.*', step 3: state: found 3 \(int\), expected text"),
        ({"next_state": None}, r"labelled: episode '.*', step 3: next_state: found None"),
        ({"action": ["open", "door"]}, r"labelled: episode '.*', step 3: action: found \['open', 'door'\] \(list\)"),
        (
            {"step": "first"},
            r"labelled: episode '.*', step first: step: found 'first' \(str\), expected a whole number",
        ),
    ],
)
def test_what_no_row_could_be_is_refused_in_every_world(splits, row, told):
    splits["labelled"][3] = replace(splits["labelled"][3], **row) if isinstance(row, dict) else row
    with pytest.raises(InputError, match="data: " + told):
        Made(splits).setup()


def test_a_split_that_is_no_list_is_refused(splits):
    with pytest.raises(InputError, match=r"data: test: found None \(NoneType\), expected a list of transitions"):
        quiet(splits | {"test": None}).setup()


def test_few_labels_cover_every_kind(splits):
    assert Counter(kind(t.action) for t in chosen(splits, num_labels=6)) == {"take": 2, "drop": 2, "open": 2}
    assert set(chosen(splits, num_labels=6)) < set(chosen(splits, num_labels=7))
    assert chosen(splits, num_labels=6) != chosen(splits, num_labels=6, seed=1)
    natural = [kind(t.action) for seed in range(50) for t in chosen(splits, num_labels=6, seed=seed, cover=False)]
    assert 0.5 < natural.count("take") / len(natural) < 0.7


def test_more_labels_than_there_are_is_refused(splits):
    with pytest.raises(InputError, match=r"data\.num_labels: found 21, expected at most 20"):
        quiet(splits, num_labels=21).setup()


def test_labels_by_episode_are_whole_episodes(splits, episode):
    splits["labelled"] = [t for name in "abcdef" for t in episode(name, 4)]

    def names(seed, number):
        few = chosen(splits, num_label_episodes=number, seed=seed)
        assert few == [t for t in splits["labelled"] if t.episode in {t.episode for t in few}]
        assert len(few) == 4 * number
        return {t.episode for t in few}

    assert names(0, 2) < names(0, 3) < names(0, 6)
    assert len({frozenset(names(seed, 2)) for seed in range(9)}) > 3
    few = chosen(splits, num_label_episodes=2, num_labels=3)
    assert len(few) == 3
    assert {t.episode for t in few} <= names(0, 2)


def test_more_episodes_than_there_are_is_refused(splits):
    with pytest.raises(InputError, match=r"data\.num_label_episodes: found 2, expected at most 1, the number of lab"):
        quiet(splits, num_label_episodes=2).setup()


def test_the_validation_slice_may_be_another(splits):
    for given, found in (({}, 3), ({"validation_limit": 2}, 2), ({"validation_limit": 5}, 5)):
        data = quiet(splits, eval_limit=3, **given)
        data.setup()
        assert (len(data.test), len(data.validation)) == (3, found)


@pytest.mark.parametrize(
    "name",
    ["batch_size", "eval_batch_size", "num_labels", "num_label_episodes", "eval_limit", "validation_limit"],
)
def test_sizes_must_be_positive(splits, name):
    with pytest.raises(InputError, match=rf"data\.{name}: found 0, expected at least 1"):
        Made(splits, **{name: 0})


def test_the_evaluation_slice_is_spread_and_does_not_depend_on_the_seed(splits, episode):
    splits["test"] = [t for name in "abcde" for t in episode(name, 9)]
    slices = []
    for seed in (0, 1):
        data = quiet(splits, eval_limit=10, seed=seed)
        data.setup()
        slices.append(data.test)
        assert len(data.validation) == 7
    assert slices[0] == slices[1]
    assert Counter(t.episode for t in slices[0]) == dict.fromkeys("abcde", 2)


def test_the_corpus_holds_nothing_held_out(splits):
    for name in splits:
        splits[name] = [replace(t, action=f"{name} {t.action}") for t in splits[name]]
    data = Made(splits, num_labels=3)
    with pytest.warns(UserWarning, match="state-only half"):
        texts = set(data.corpus())
    states = {
        text for split in ("labelled", "state_only") for t in getattr(data, split) for text in (t.state, t.next_state)
    }
    assert texts == states | {t.action for t in data.labelled}
    assert not any("validation" in text or "test" in text for text in texts)
    assert sum("coin" in text or "safe" in text for text in texts) <= 3
