"""``swirl label``."""

import json

import pytest


def test_the_log_and_its_scores_are_written(run, state_only, tmp_path, swirl):
    out = tmp_path / "out.jsonl"
    code, said, _ = swirl("label", str(run), str(state_only), f"--out={out}", "--samples=2")
    assert (code, said) == (0, f"log:    {out}\nscores: {tmp_path / 'out.scores.jsonl'}\n")


def test_where_no_action_can_be_written_the_code_is_1(run, state_only, tmp_path, swirl):
    out = tmp_path / "out.jsonl"
    args = [str(run), str(state_only), f"--out={out}", "--model.idm.init_args.max_new_tokens=1"]
    assert swirl("label", *args)[0] == 1
    assert out.read_text() == ""
    scores = (tmp_path / "out.scores.jsonl").read_text().splitlines()
    assert len(scores) == 24
    assert {json.loads(line)["source"] for line in scores} == {"none"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["run"], "swirl label: missing LOG, --out"),
        (["run", "log", "--out=x", "--sample=3"], "swirl label: no such option: --sample; did you mean --samples?"),
        (["run", "log", "--out=x", "--samples=few"], "swirl label: --samples: found few, expected int"),
        (["run", "log", "--out=x", "more"], "swirl label: unexpected argument more"),
        (["run", "log", "--out=x", "--model.max_tokens"], "--model.max_tokens: expected a value"),
        (["/nowhere", "log", "--out=x"], "/nowhere: no such folder"),
        (["/nowhere", "log", "--out=/tmp"], "/tmp: already there"),
    ],
)
def test_wrong_input(refused, args, said):
    assert said in refused("label", *args)
