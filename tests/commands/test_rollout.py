"""``swirl rollout``."""

import json

import pytest

START = "door open\nlamp on\nsafe free"
ACTIONS = ["dim", "bolt", "light", "push"]
STATES = [
    "door open\nlamp off\nsafe free",
    "door open\nlamp off\nsafe locked",
    "door open\nlamp on\nsafe locked",
    "door shut\nlamp on\nsafe locked",
]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "state.txt").write_text(START + "\n")
    (tmp_path / "actions.txt").write_text("\n".join(ACTIONS) + "\n")
    return [f"--state={tmp_path / 'state.txt'}", f"--actions={tmp_path / 'actions.txt'}"]


def test_the_steps_are_printed_and_written(run, files, tmp_path, swirl):
    out = tmp_path / "steps.jsonl"
    code, printed, _ = swirl("rollout", str(run), *files, f"--out={out}")
    assert code == 0
    assert "1. dim    (log-prob -0." in printed
    assert "- lamp on\n+ lamp off\n" in printed
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["state"] for row in rows] == STATES
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[0]["change"] == "- lamp on\n+ lamp off"


def test_it_says_where_it_stopped(run, files, tmp_path, swirl):
    out = tmp_path / "steps.jsonl"
    setting = ("--model.fwm.init_args.max_new_tokens", "2")
    code, printed, _ = swirl("rollout", str(run), *files, f"--out={out}", *setting)
    assert code == 1
    assert "malformed: found no end within 2 tokens" in printed
    assert "stopped after 0 of 4 actions" in printed
    (row,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert row["state"] is None
    assert "found no end" in row["problem"]


def test_wrong_input(run, files, tmp_path, refused):
    assert refused("rollout", str(run)) == "swirl rollout: missing --state, --actions"
    assert "--state: nowhere" in refused("rollout", str(run), "--state=nowhere", files[1])
    assert "--temperature: found -1.0, expected at least 0" in refused("rollout", str(run), *files, "--temperature=-1")
    (tmp_path / "taken").write_text("precious")
    assert "taken: already there" in refused("rollout", "/nowhere", *files, f"--out={tmp_path / 'taken'}")
    assert (tmp_path / "taken").read_text() == "precious"
    assert "no such option: --temprature; did you mean --temperature?" in refused(
        "rollout", str(run), *files, "--temprature=1"
    )
    assert refused("rollout", str(run), *files, "more") == "swirl rollout: unexpected argument more"
