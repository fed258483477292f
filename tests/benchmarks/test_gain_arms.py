"""The arms of the gain benchmarks: what each starts from, for how long it trains, what is written."""

import json
import re
import sys
from pathlib import Path
from threading import Lock, Semaphore
from time import sleep

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gain_arms
from gain_arms import Column, Recipe, verified, with_new_fwm
from gain_lengths import Lengths
from gain_runs import Ledger, checkpoint

LABELLED, STATE_ONLY, GRPO = 40.0, 50.0, 700.0
STAGE = {"batch_size": None, "learning_rate": None}
CONFIG = {
    "trainer": {
        "warmup": [{"phase": "sft", "updates": 20, **STAGE, "batch_size": 8}],
        "iteration": [{"phase": "vim", "updates": 16, **STAGE}, {"phase": "elbo", "updates": 10, **STAGE}],
    },
    "data": {"init_args": {"batch_size": 4}},
}


def option(options, name):
    """The last value of an option."""
    return options[len(options) - 1 - options[::-1].index(name) + 1]


def tokens_of(stage, options):
    """What a stage of these options would use."""
    batch = stage.get("batch_size") or 4
    bootstrap = float(option(options, "--model.bootstrap")) if "--model.bootstrap" in options else 0
    return (
        stage["updates"]
        * {
            "sft": lambda: 2 * batch * LABELLED,
            "bootstrap": lambda: (
                batch * (STATE_ONLY + LABELLED * float(option(options, "--model.fwm.init_args.grpo.anchor")))
            ),
            "vim": lambda: GRPO + batch * STATE_ONLY * bootstrap,
            "elbo": lambda: GRPO,
        }[stage["phase"]]()
    )


@pytest.fixture
def column(tmp_path, monkeypatch):
    """A column whose runs are made up; its attribute `runs` has each one's options."""
    runs = {}

    def stages_of(options):
        iterations = int(option(options, "--trainer.iterations"))
        if iterations == 0:
            return [(0, stage) for stage in CONFIG["trainer"]["warmup"]]
        given = "--trainer.iteration" in options
        listed = json.loads(option(options, "--trainer.iteration")) if given else CONFIG["trainer"]["iteration"]
        return [(i + 1, stage) for i in range(iterations) for stage in listed]

    def fit(folder, *options):
        runs[folder.name] = options
        if "--model.init_from" in options:
            assert Path(option(options, "--model.init_from")).exists()
        path = checkpoint(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        weights = {f"{name}/x.lora_{ab}": torch.ones(3, 3) for name in ("fwm", "idm") for ab in "AB"}
        torch.save({"state_dict": weights, "swirl": {"version": "0"}, "optimizer": 1}, path)
        return {"versions": {"torch": "2"}, "config": CONFIG}

    def monitored(folder):
        options = runs[folder.name]
        return [
            {
                "stage": f"{stage['phase']}-{iteration}", "phase": stage["phase"], "iteration": iteration,
                "updates": stage["updates"], "gradient_tokens": round(tokens_of(stage, options)), "seconds": 1.0,
                "metrics": {"fwm/logp": -1.0, "fwm/best_of_n/logp": -0.5, "idm/logp": -2.0}, "validation": {},
            }
            for iteration, stage in stages_of(options)
        ]  # fmt: skip

    monkeypatch.setattr(gain_arms, "fit", fit)
    monkeypatch.setattr(gain_arms, "monitored", monitored)
    recipe = Recipe(Path("c.yaml"), "fwm/logp", "+1 %", {"sft": 1e-5, "bootstrap": 1e-4})
    lengths = Lengths(LABELLED / 1.1, STATE_ONLY / 1.1, 64)  # the estimate is 10 % off, and corrected
    ledger = Ledger(tmp_path / "gain.json", {"settings": {"split": "test"}})
    made = Column(recipe, 3, 16, lengths, ("--config", "c.yaml"), tmp_path / "runs", ledger)
    object.__setattr__(made, "runs", runs)
    return made


def spent(column, arm):
    return sum(stage["gradient_tokens"] for stage in column.ledger.find(arm=arm)["stages"])


def test_all_arms_use_the_gradient_tokens_of_swirl(column):
    column.run(gain_arms.ARMS)
    rows = column.ledger.content["rows"]
    assert {row["arm"] for row in rows} == set(gain_arms.ARMS)
    assert all((row["seed"], row["labels"], row["transitions"]) == (3, 16, 64) for row in rows)
    swirl = spent(column, "swirl")
    assert swirl == 2 * 26 * GRPO
    for arm in ("sft-continue", "bootstrap-continue", "bootstrap-mixed", "swirl-bootstrap", "swirl-shared"):
        assert spent(column, arm) == pytest.approx(swirl, rel=0.03)
    # which starts anew
    assert spent(column, "bootstrap-merge") == pytest.approx(swirl + spent(column, "warm-up") / 2, rel=0.03)


def test_what_is_kept_of_an_arm(column):
    column.run(("sft-continue",))
    for arm in ("warm-up", "swirl", "sft-continue"):
        row = column.ledger.find(arm=arm)
        names = {"stage", "phase", "iteration", "updates", "seconds", "gradient_tokens", "metrics"}
        assert all(set(stage) == names for stage in row["stages"])  # one validation transition says nothing
        assert ("schedule" in row) == (arm != "sft-continue")
    trainer = CONFIG["trainer"]
    assert column.ledger.find(arm="swirl")["schedule"] == {
        "warmup": trainer["warmup"], "iteration": trainer["iteration"], "batch_size": 4,
    }  # fmt: skip


def test_what_each_arm_starts_from(column):
    column.run(gain_arms.ARMS)
    start = {name: option(run, "--model.init_from") for name, run in column.runs.items() if "--model.init_from" in run}
    warm = {arm: str(checkpoint(column.folder / arm)) for arm in ("warm-up", "warm-up-shared")}
    assert start.pop("bootstrap-merge") == str(column.folder / "new-fwm.ckpt")
    assert start.pop("swirl-shared") == warm["warm-up-shared"]
    assert set(start.values()) == {warm["warm-up"]}
    for name in start:
        assert option(column.runs[name], "--trainer.warmup") == "[]"
    for name in ("swirl-shared", "warm-up-shared"):
        assert option(column.runs[name], "--model.shared_weights") == "true"
    (stage,) = json.loads(option(column.runs["warm-up-shared"], "--trainer.warmup"))
    assert stage == CONFIG["trainer"]["warmup"][0] | {"updates": 10}


def test_weights_of_arms_are_removed_and_those_of_the_warm_up_kept(column):
    column.run(("swirl-shared",))
    kept = sorted(path.relative_to(column.folder).parts[0] for path in column.folder.glob("**/last.ckpt"))
    assert kept == ["warm-up", "warm-up-shared"]


@pytest.mark.parametrize("slots", [1, 2])
def test_no_more_runs_at_a_time_than_slots(slots, column, monkeypatch):
    original, lock, running, most = gain_arms.fit, Lock(), set(), []

    def counted(folder, *options):
        with lock:
            running.add(folder)
            most.append(len(running))
        sleep(0.05)
        with lock:
            running.remove(folder)
        return original(folder, *options)

    monkeypatch.setattr(gain_arms, "fit", counted)
    object.__setattr__(column, "slots", Semaphore(slots))
    column.run(gain_arms.ARMS)
    assert max(most) == slots
    assert most[:2] == [1, 1]  # the warm-up and SWIRL, which all others need


def test_only_what_is_missing_is_made(column):
    column.run(("sft-continue",))
    assert set(column.runs) == {"warm-up", "swirl", "sft-continue"}
    column.runs.clear()
    column.run(("sft-continue", "bootstrap-merge", "best-of-n"))
    assert set(column.runs) == {"bootstrap-merge"}


def test_a_warm_up_whose_weights_are_gone_is_made_again_and_must_be_the_same(column, monkeypatch):
    column.run(())
    checkpoint(column.folder / "warm-up").unlink()
    column.runs.clear()
    column.run(())
    assert set(column.runs) == {"warm-up"}
    checkpoint(column.folder / "warm-up").unlink()
    monkeypatch.setattr(gain_arms, "monitored", lambda folder: [{"metrics": {"fwm/logp": -7.0}}])
    with pytest.raises(SystemExit, match=r"seed 3, 16 labelled episodes: warm-up was made again.*came out differently"):
        column.run(())


def test_tuning_tries_every_rate(column):
    column.tune()
    arms = {row["arm"] for row in column.ledger.content["rows"]}
    names = {"swirl": "swirl", "sft": "sft-continue", "bootstrap": "bootstrap-mixed"}
    tried = {f"{names[kind]} lr {rate:g}" for kind, rates in column.recipe.grid.items() for rate in rates}
    assert arms == {"warm-up", "swirl"} | tried
    assert len(tried) == 6
    for name, run in column.runs.items():
        if name.startswith("swirl lr"):
            rate = name.removeprefix("swirl lr ")
            given = [re.fullmatch(r"--model\.(fwm|idm)\.init_args\.learning_rate=(.*)", word) for word in run]
            assert [(m[1], float(m[2])) for m in given if m] == [("fwm", float(rate)), ("idm", float(rate))]


def test_the_choice_stands_for_the_next_state():
    warm = {"stage": "warmup", "seconds": 9.0, "gradient_tokens": 5, "iteration": 0}
    metrics = {"fwm/logp": -1.0, "fwm/exact_match": 0.1, "fwm/best_of_n/exact_match": 0.3, "idm/logp": -2.0}
    found = verified(warm | {"metrics": metrics})
    assert found["metrics"] == {"fwm/exact_match": 0.3, "idm/logp": -2.0}
    assert (found["seconds"], found["gradient_tokens"]) == (0.0, 0)


def test_a_new_fwm_beside_the_trained_idm(tmp_path):
    names = [f"{role}/layers.0.q_proj.lora_{ab}.weight" for role in ("fwm", "idm", "reference") for ab in "AB"]
    torch.save({"state_dict": {n: torch.ones(4, 4) for n in names}, "swirl": {}, "loops": {}}, tmp_path / "warm")
    made = torch.load(with_new_fwm(tmp_path / "warm", tmp_path / "new", 1), weights_only=True)
    assert set(made) == {"state_dict", "swirl"}
    for name, value in made["state_dict"].items():
        if not name.startswith("fwm/"):
            assert torch.equal(value, torch.ones(4, 4))
        elif "lora_B" in name:
            assert not value.any()
        else:
            assert 0.1 < value.abs().max() <= 0.5  # kaiming_uniform with a = sqrt(5): 1 / sqrt(fan in)
    torch.save({"state_dict": {"fwm/embed": torch.ones(2)}, "swirl": {}}, tmp_path / "scratch")
    with pytest.raises(AssertionError, match="only adapters"):
        with_new_fwm(tmp_path / "scratch", tmp_path / "new", 1)
