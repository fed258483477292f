"""Figures that reach the logger, and warnings of collapse."""

import json

import pytest
import torch

from swirl_lightning.callbacks.monitor import PhaseMonitor
from swirl_lightning.modules.schedule import Stage

HEALTHY = {"zero_variance_groups": 0.5, "truncated_share": 0.1, "entropy": 0.4}


@pytest.fixture
def judge(toy_trainer, toy_swirl, caplog):
    """What the monitor says at the end of a stage whose updates had these figures."""

    def run(rows, copied=0.0, **options):
        monitor, trainer, model = PhaseMonitor(**options), toy_trainer("vim", log_every_n_steps=1000), toy_swirl()
        model.results = {"test": {"fwm/copied": copied}}
        trainer.fit_loop.epoch_progress.current.processed = 1
        monitor.on_train_epoch_start(trainer, model)
        caplog.clear()
        for u, row in enumerate(rows):
            monitor.on_train_batch_end(trainer, model, {"metrics": row}, [], u)
        monitor.on_train_epoch_end(trainer, model)
        return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    return run


def test_a_healthy_phase_is_silent(judge):
    assert judge([HEALTHY] * 5) == []
    assert judge([{"fwm_loss": 3.0}] * 5) == []  # a supervised one


@pytest.mark.parametrize(
    ("sign", "words"),
    [
        ({"zero_variance_groups": 1.0}, "vim: zero_variance_groups is 1 over the last 3 updates (above 0.95)"),
        ({"truncated_share": 0.6}, "raise max_new_tokens"),
        ({"entropy": 1e-5}, "below 0.001"),
    ],
)
def test_collapse_is_told(judge, sign, words):
    (message,) = judge([HEALTHY | sign] * 3)
    assert words in message


@pytest.mark.parametrize(("copied", "warns"), [(0.5, False), (0.51, True), (1.0, True), (float("nan"), False)])
def test_a_model_that_copies_is_told(judge, copied, warns):
    messages = judge([HEALTHY], copied=copied)
    assert len(messages) == warns
    assert not warns or f"vim: the FWM answers {copied:.0%} of the test transitions in which" in messages[0]


def test_the_end_of_the_phase_counts(judge):
    bad = HEALTHY | {"zero_variance_groups": 1.0}
    assert judge([bad] * 10 + [HEALTHY] * 4, last=4) == []
    assert len(judge([HEALTHY] * 10 + [bad] * 4, last=4)) == 1


def test_a_run_that_goes_on_judges_what_was_before_too(toy_trainer, toy_swirl, caplog):
    before, after = PhaseMonitor(), PhaseMonitor()
    trainer, model = toy_trainer("vim", log_every_n_steps=1000), toy_swirl()
    trainer.fit_loop.epoch_progress.current.processed = 1
    before.on_train_batch_end(trainer, model, {"metrics": HEALTHY | {"entropy": 1e-5}}, [], 0)
    after.load_state_dict(before.state_dict())
    after.on_train_epoch_end(trainer, model)
    assert "entropy is 1e-05 over the last 1 updates" in caplog.text


def test_shrinking_completions_are_told(judge):
    """Against those of the first update."""
    (message,) = judge([HEALTHY | {"completion_length": length} for length in (20.0, 9.0, 8.0, 8.0)], last=3)
    assert "completion_length is 8.33 over the last 3 updates (below 10)" in message
    assert judge([HEALTHY | {"completion_length": length} for length in (20.0, 11.0, 11.0, 11.0)], last=3) == []


@pytest.mark.parametrize(("stop", "updates"), [(True, 3), (False, 6)])
def test_a_collapsing_phase_ends_early_if_asked(toy_trainer, toy_swirl, toy_data, caplog, stop, updates):
    """Here no completion ends, so that all rewards of a group are the same; the next stage is not touched."""
    trainer = toy_trainer(
        Stage("vim", updates=6), Stage("sft", updates=5), callbacks=[PhaseMonitor(last=3, stop=stop, max_truncated=1)]
    )
    trainer.fit(toy_swirl(), datamodule=toy_data())
    stages = json.loads((trainer.run_dir / "results.json").read_text())["stages"]
    assert [stage["updates"] for stage in stages] == [updates, 5]
    assert ("vim ends early, after 3 of 6 updates" in caplog.text) == stop


def test_limits_are_options(judge):
    assert judge([HEALTHY | {"truncated_share": 0.6}], max_truncated=0.7) == []
    assert len(judge([HEALTHY], max_truncated=0.05)) == 1


def test_figures_reach_the_logger(toy_trainer, toy_swirl, toy_data):
    trainer = toy_trainer(Stage("sft", updates=2), Stage("vim", updates=2), log_every_n_steps=1)
    trainer.fit(toy_swirl(), datamodule=toy_data())
    logged = {key: float(value) for key, value in trainer.logged_metrics.items()}
    row = json.loads((trainer.run_dir / "history.jsonl").read_text().splitlines()[-1])
    last = {f"vim/{key}": value for key, value in row.items() if key not in ("stage", "update")}
    assert {key: value for key, value in logged.items() if key.startswith("vim/")} == pytest.approx(last, rel=1e-5)
    assert {"vim/reward", "vim/reward_std", "vim/kl", "vim/entropy", "vim/bound", "vim/grad_norm"} <= last.keys()
    assert torch.tensor(list(last.values())).isfinite().all()
