"""A run goes on only as the run that it was; what decides no number may change."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from swirl_lightning.callbacks import PhaseCheckpoint
from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.environments.table import hash_of
from swirl_lightning.models import PretrainedLM
from swirl_lightning.models.optimizers import OptimizerOptions
from swirl_lightning.modules.origin import arguments_of, check_origin, origin_of, settings_of
from swirl_lightning.modules.schedule import Stage
from swirl_lightning.rewards import LikelihoodReward, WeightedSum
from swirl_lightning.types import InputError, Transition

SCHEDULE = (Stage("sft", updates=2), Stage("vim", updates=2))


@pytest.fixture
def fit(toy_trainer, toy_swirl, toy_data):
    """Runs a schedule, from a checkpoint or from the beginning."""

    def run(ckpt_path=None, schedule=SCHEDULE, folder="run", data=None, trainer=None, **model):
        trainer = toy_trainer(*schedule, folder=folder, **trainer or {})
        data = data if isinstance(data, TransitionDataModule) else toy_data(**data or {})
        trainer.fit(toy_swirl(**model), datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        return trainer

    return run


@pytest.fixture
def checkpoint(fit):
    return PhaseCheckpoint.path(fit())


class Other(TransitionDataModule):
    """The toy world with something done to its rows."""

    def __init__(self, toy, change):
        super().__init__(batch_size=3, eval_batch_size=3)
        self.toy, self.change = toy, change

    def load(self, split):
        return self.change(split, self.toy.load(split))


CHANGED_ROWS = {
    "half of them": ("data.state_only", lambda split, rows: rows[::2] if split == "state_only" else rows),
    "another order": ("data.labelled", lambda split, rows: rows[::-1] if split == "labelled" else rows),
    "a character": (
        "data.test",
        lambda split, rows: [replace(rows[0], state=rows[0].state + "!"), *rows[1:]] if split == "test" else rows,
    ),
    "an action": (
        "data.labelled",
        lambda split, rows: [replace(rows[0], action="look"), *rows[1:]] if split == "labelled" else rows,
    ),
    "an episode's name": ("data.validation", lambda split, rows: [replace(r, episode=r.episode + "b") for r in rows]),
}


@pytest.mark.parametrize("kind", CHANGED_ROWS)
def test_other_rows_are_refused(kind, fit, checkpoint, toy_data):
    key, change = CHANGED_ROWS[kind]
    fit(checkpoint, folder="same", data=Other(toy_data(), lambda split, rows: rows))
    with pytest.raises(InputError, match=rf"{key} \(\d+ rows, hash \w+ there, \d+ rows, hash \w+ here\)"):
        fit(checkpoint, data=Other(toy_data(), change))


@pytest.mark.parametrize(
    ("key", "options"),
    [
        (r"model.fwm.init_args.learning_rate \(0.005 there, 0.1 here\)", {"fwm": {"learning_rate": 0.1}}),
        (r"model.idm.init_args.grpo.group_size \(4 there, 5 here\)", {"idm": {"group_size": 5}}),
        (r"model.idm.init_args.prior \(posterior there, state here\)", {"idm": {"prior": "state"}}),
        (r"model.fwm.init_args.sampling.top_k", {"fwm": {"top_k": 3}}),
        (r"model.seed \(0 there, 1 here\)", {"seed": 1}),
        (r"model.state_form \(delta there, full here\)", {"state_form": "full"}),
        (r"model.max_tokens \(1024 there, 1000 here\)", {"max_tokens": 1000}),
        (r"model.optimizer.lr_warmup", {"optimizer": OptimizerOptions(lr_warmup=1)}),
        (r"model.reward.\S*floor", {"reward": LikelihoodReward(floor=-3.0)}),
        (
            r"model.reward.class_path \(\S+LikelihoodReward there, \S+WeightedSum here\)",
            {"reward": WeightedSum([LikelihoodReward()], [0.5])},
        ),
        (r"data.batch_size \(3 there, 4 here\)", {"data": {"batch_size": 4}}),
        (r"data.seed", {"data": {"seed": 3}}),
        (r"updates of stage 1 of the schedule \(2 there, 3 h", {"schedule": (Stage("sft", updates=3), SCHEDULE[1])}),
        (r"phase of stage 2", {"schedule": (SCHEDULE[0], Stage("elbo", updates=2))}),
        (r"name of stage 2 of the schedule \(vim there, nothing here\)", {"schedule": SCHEDULE[:1]}),
    ],
)  # fmt: skip
def test_other_settings_are_refused(key, options, fit, checkpoint):
    with pytest.raises(InputError, match=f"{key}.*config.yaml.*--model.init_from={checkpoint}"):
        fit(checkpoint, **options)


def test_all_differences_are_told(fit, checkpoint):
    with pytest.raises(InputError) as error:
        fit(checkpoint, seed=1, data={"batch_size": 4}, bootstrap=0.5)
    assert all(key in str(error.value) for key in ("model.seed", "data.batch_size", "model.bootstrap"))


def test_what_decides_no_number_may_change(fit, checkpoint):
    fit(checkpoint, micro_batch=3, engine="plain", data={"eval_batch_size": 2}, trainer={"log_every_n_steps": 3})


def test_stages_that_have_not_begun_may_change(fit, checkpoint):
    """A finished run goes on with more, to the numbers of the longer run."""
    longer = (*SCHEDULE, Stage("elbo", updates=2))
    whole, more = fit(schedule=longer, folder="longer"), fit(checkpoint, longer, folder="more")
    rows = [(t.run_dir / "samples.jsonl").read_text() for t in (whole, more)]
    assert rows[0] == rows[1]
    assert (more.run_dir / "history.jsonl").read_text().count("elbo") == 2


def test_other_data_are_evaluated(checkpoint, toy_trainer, toy_swirl, toy_data):
    data = Other(toy_data(), lambda split, rows: rows[:1])
    trainer = toy_trainer("sft", folder="test")
    trainer.test(toy_swirl(seed=4), datamodule=data, ckpt_path=checkpoint, weights_only=True, verbose=False)
    trainer.validate(toy_swirl(seed=4), datamodule=data, ckpt_path=checkpoint, weights_only=True, verbose=False)


def test_number_of_processes_and_older_files():
    data = SimpleNamespace(batch_size=3, seed=0, weights=None, labelled=[], state_only=[], validation=[], test=[])
    one, two = (origin_of(SimpleNamespace(), data, (), n) for n in (1, 2))
    with pytest.raises(InputError, match=r"number of processes \(2 there, 1 here\)"):
        check_origin(two, one, 0, "last.ckpt")
    with pytest.raises(InputError, match=r"an older version wrote; begin a new run .*--model.init_from=last.ckpt"):
        check_origin(None, one, 0, "last.ckpt")


def test_a_base_model_may_lie_elsewhere():
    data = SimpleNamespace(batch_size=3, seed=0, weights=None, labelled=[], state_only=[], validation=[], test=[])

    class Model:
        def __init__(self, base):
            self.base = base

    here, there, other = (
        origin_of(Model(PretrainedLM(name)), data, (), 1) for name in ("hub/small", "/models/small", "hub/large")
    )
    check_origin(here, there, 0, "")
    with pytest.raises(InputError, match=r"model.base.init_args.name \(small there, large here\)"):
        check_origin(here, other, 0, "")


class Base:
    def __init__(self, a, **kwargs):
        self.a = a


class Made(Base):
    def __init__(self, b, unkept=0, **kwargs):
        super().__init__(**kwargs)
        self.b = b


def test_settings_of_any_object():
    made = {"b": [1, None], "a": {"x": {"class_path": f"{__name__}.Base", "init_args": {"a": 2}}}}
    assert arguments_of(Made([1, None], a={"x": Base(2)})) == made
    assert settings_of(Path("a/b")) == "a/b"
    assert settings_of(Base)["class_path"] == f"{__name__}.Base"
    assert settings_of(hash_of)["class_path"].endswith("table.hash_of")
    assert settings_of(Made(1, a=2)) == {"class_path": f"{__name__}.Made", "init_args": {"b": 1, "a": 2}}


def test_hash_of_texts_that_are_no_unicode():
    row = Transition("e", 0, "\ud800", "y", None)
    assert hash_of([row]) != hash_of([replace(row, state="\ud801")])
    assert hash_of([replace(row, state="a", next_state="b")]) != hash_of([replace(row, state="ab", next_state="")])
