"""The settings ``--model.KEY VALUE`` of the commands that use a trained run."""

import pytest

from swirl_lightning.commands.run_options import split_settings
from swirl_lightning.types import InputError


@pytest.mark.parametrize(
    "given",
    [
        ["run", "--model.base.name=/a folder/b=c", "--seed", "3", "--model.max_tokens=20", "log"],
        ["--model.base.name", "/a folder/b=c", "run", "--seed", "3", "--model.max_tokens", "20", "log"],
    ],
)
def test_settings_are_told_from_options(given):
    assert split_settings(given) == (
        {"base.name": "/a folder/b=c", "max_tokens": "20"}, ["run", "--seed", "3", "log"],
    )  # fmt: skip


def test_text_stays_as_it_is():
    """A folder named 0123 or null is no number and nothing else."""
    assert split_settings(["--model.a=0123", "--model.b", "null", "--model.c="])[0] == {
        "a": "0123",
        "b": "null",
        "c": "",
    }


def test_the_last_one_counts():
    assert split_settings(["--model.a=1", "--model.a", "2"])[0] == {"a": "2"}


def test_a_setting_needs_a_value():
    with pytest.raises(InputError, match=r"^--model\.a: expected a value$"):
        split_settings(["run", "--model.a"])


@pytest.mark.parametrize("command", ["label", "rollout", "export"])
def test_help_tells_of_them(swirl, command):
    out = " ".join(swirl(command, "--help")[1].split())
    assert "--model.KEY VALUE change a setting of the run's model" in out
    for option in ("RUN", "--checkpoint", "--device", "--out"):
        assert option in out
