"""Which option a misspelt one stands for."""

import pytest

from swirl_lightning.commands.spelling import did_you_mean

OPTIONS = ["--config", "--model.base", "--model.max_tokens", "--model.micro_batch", "--trainer.max_epochs", "--out"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--model.max_token", "--model.max_tokens"),
        ("--max_tokens", "--model.max_tokens"),
        ("--modle.max_tokens", "--model.max_tokens"),
        ("--trainer.max_epoch", "--trainer.max_epochs"),
        ("--conf", "--config"),
        ("-out", "--out"),
    ],
)
def test_the_nearest_is_named(given, meant):
    assert did_you_mean(given, OPTIONS) == f"; did you mean {meant}?"


@pytest.mark.parametrize("given", ["--model.wobble", "--trainer.x", "--", "42"])
def test_what_is_like_nothing_is_left_alone(given):
    assert did_you_mean(given, OPTIONS) == ""


def test_nothing_is_known():
    assert did_you_mean("--out", []) == ""
