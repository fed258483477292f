"""``swirl label``."""

import json
import re
import shlex

import file_shell
import pytest

from swirl_lightning.environments.log import LogDataModule
from swirl_lightning.types import InputError


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


def test_a_person_is_asked_and_the_answers_come_into_the_log(tmp_path, swirl, monkeypatch):
    """A bare log is refused with a command; what that and the next ones print leads to a log that is taken."""
    monkeypatch.chdir(tmp_path)
    rows = file_shell.rows(labels=600)
    done = {(row["episode"], row["step"]): row.pop("action") for row in rows}
    file_shell.write(tmp_path / "my log.jsonl", rows)
    with pytest.raises(InputError, match=r"found 0 rows with an action .* at least 20 in 3") as caught:
        LogDataModule("my log.jsonl").setup()
    command = re.search(r": '(swirl label .*)' chooses", str(caught.value))[1]
    code, said, _ = swirl(*shlex.split(command)[1:])
    assert code == 0
    assert said.startswith("form:   questions.txt (60 steps; 0 of 600 rows of the log have an action)\n")

    head, *questions = re.split(r"(?m)^(?=step )", (tmp_path / "questions.txt").read_text())
    assert len(questions) == 60
    for n, question in enumerate(questions):
        step, episode = re.match(r'step (\d+) of episode "(.*)"', question).groups()
        if n < 50:  # ten nobody can tell
            questions[n] = question.replace("\naction: \n", f"\naction: {done[episode, int(step)]}\n")
    (tmp_path / "questions.txt").write_text("".join([head, *questions]))
    next_command = said.rstrip().split("\n")[-1]
    assert next_command.strip() in head
    code, said, _ = swirl(*shlex.split(next_command)[1:])
    assert (code, said) == (
        0, "log:    labelled_my log.jsonl (50 of 60 steps are answered; 50 of 600 rows have an action)\n"
    )  # fmt: skip

    data = LogDataModule("labelled_my log.jsonl")
    data.setup()
    labels = [*data.labelled, *data.validation, *data.test]
    assert len(labels) == 50
    assert all(t.action == done[t.episode, t.step] for t in labels)


def test_too_few_asked_is_said(tmp_path, swirl):
    log = file_shell.write(tmp_path / "log.jsonl", file_shell.rows(labels=8))
    code, said, _ = swirl("label", str(log), "--ask=11", f"--out={tmp_path / 'q.txt'}")
    assert code == 0
    assert "A run needs at least 20 rows with an action: ask for more." in said
    _, said, _ = swirl("label", str(log), "--ask=12", f"--out={tmp_path / 'q2.txt'}")
    assert "ask for more" not in said


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--ask=3"], "swirl label: missing LOG, --out"),
        (["log.jsonl", "--ask=few", "--out=x"], "swirl label: --ask: found few, expected int"),
        (["log.jsonl", "--ask=3", "--out=x", "--sed=3"], "no such option: --sed; did you mean --seed?"),
        (["log.jsonl", "--asks=3", "--out=x"], "no such option: --asks; did you mean --ask?"),
        (["nowhere.jsonl", "--ask=3", "--out=x"], "nowhere.jsonl: no such file"),
        (["log.jsonl", "--ask=0", "--out=x"], "--ask: found 0, expected at least 1"),
        (["log.jsonl", "--ask=3", "--out=log.jsonl"], "log.jsonl: already there"),
        (["log.jsonl", "--answers=log.jsonl", "--out=x.jsonl"], "--answers: log.jsonl:1: found '{\"episode"),
        (["log.jsonl", "--answers=empty.txt", "--out=x.jsonl"], 'empty.txt: found no answer behind any "action:"'),
        (["log.jsonl", "--answers=given.txt", "--out=x.csv"], "expected one ending in .jsonl"),
    ],
)
def test_wrong_input_of_a_person(refused, tmp_path, monkeypatch, args, said):
    monkeypatch.chdir(tmp_path)
    file_shell.write(tmp_path / "log.jsonl", [row | {"action": "do"} for row in file_shell.rows(labels=0)])
    (tmp_path / "empty.txt").write_text('step 0 of episode "session-0"\naction:\n')
    (tmp_path / "given.txt").write_text('step 0 of episode "session-0"\naction: do\n')
    before = sorted(tmp_path.iterdir())
    assert said in refused("label", *args)
    assert sorted(tmp_path.iterdir()) == before


def test_where_all_steps_have_actions_nothing_is_asked(refused, tmp_path):
    log = file_shell.write(tmp_path / "log.jsonl", [row | {"action": "do"} for row in file_shell.rows(labels=0)])
    assert "found no step without an action" in refused("label", str(log), "--ask=3", f"--out={tmp_path / 'q'}")
