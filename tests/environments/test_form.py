"""The form that a person fills in, and its way back into the log."""

import json

import pytest

from swirl_lightning.environments.form import answered_rows, form, read_form
from swirl_lightning.environments.rows import scan_rows
from swirl_lightning.types import InputError, Transition

LAMP = Transition(
    'the "first"\nnight, step 2',
    3,
    '# lamp off\naction: none\nstep 1 of episode "x"\n\n\ttab',
    "# lamp on\n\u2028\r\x1b[2J",
)
CUP = Transition("b", 0, "at attic\ncup on floor", "at attic\ncup carried")


def filled(path, *answers, end="\n"):
    """The form of both steps as an editor may leave it: no white space at the end of a line."""
    rest = iter(answers)
    lines = form([LAMP, CUP], "log.jsonl", "swirl label ...").split("\n")
    text = end.join((f"action: {next(rest)}" if line == "action: " else line).rstrip() for line in lines)
    path.write_text("\ufeff" + text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_answers_are_those_of_their_steps(tmp_path, end):
    answers = read_form(filled(tmp_path / "form.txt", "switch: on # now ", "", end=end))
    assert answers == {(LAMP.episode, 3): "switch: on # now", ("b", 0): None}


def test_the_form_shows_what_changes_and_nothing_that_a_terminal_obeys():
    text = form([CUP, LAMP], "log.jsonl", "swirl label log.jsonl")
    assert 'step 0 of episode "b"\n  at attic\n- cup on floor\n+ cup carried\naction: \n' in text
    assert "+ \\u2028\\r\\x1b[2J\n" in text
    assert "  swirl label log.jsonl\n" in text


def test_of_long_states_the_lines_near_the_change_are_shown():
    lines = [f"line {n}" for n in range(100)]
    text = form([Transition("a", 0, "\n".join(lines), "\n".join([*lines[:50], *lines[51:]]))], "log.jsonl", "")
    assert "  line 4\n  (40 lines)\n  line 45\n" in text
    assert "- line 50\n  line 51\n" in text


def test_a_broken_line_is_named(tmp_path):
    path = filled(tmp_path / "form.txt", "switch it\non", "")
    number = path.read_text().split("\n").index("on") + 1
    with pytest.raises(InputError, match=rf"form\.txt:{number}: found 'on', expected .*each action in one line"):
        read_form(path)


@pytest.mark.parametrize("head", ['step 3 of episode "a"b"', f'step {"9" * 5000} of episode "a"'])
def test_a_head_that_was_changed_is_named(tmp_path, head):
    (tmp_path / "form.txt").write_text(f"{head}\naction: go\n")
    with pytest.raises(InputError, match=r"form\.txt:1: found 'step .*, expected a step and its episode"):
        read_form(tmp_path / "form.txt")


@pytest.mark.parametrize("text", [b"", b"# a comment\n", b"\xff\xfe"])
def test_what_is_no_form_is_refused(tmp_path, text):
    (tmp_path / "form.txt").write_bytes(text)
    with pytest.raises(InputError, match=r"form\.txt.*expected a form"):
        read_form(tmp_path / "form.txt")


@pytest.fixture
def log(tmp_path):
    """Three steps, of which one has an action."""
    rows = [{"episode": e, "step": n, "state": "a", "next_state": "b"} for e, n in (("x", 0), ("x", 1), ("y", 0))]
    rows[1] |= {"action": "go"}
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_answers_go_to_their_rows_and_all_else_stays(log):
    rows = list(answered_rows(log, {("y", 0): "jump", ("x", 0): None, ("x", 1): "go"}, log.parent))
    assert [row.get("action") for row in rows] == [None, "go", "jump"]
    assert [(r["episode"], r["step"], r["state"], r["next_state"]) for r in rows] == [
        (t.episode, t.step, t.state, t.next_state) for _, t in scan_rows(log)
    ]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({("x", 1): "stay"}, "log.jsonl:2: step 1 of episode 'x' has the action 'go', and the form says 'stay'"),
        ({("z", 7): "stay"}, "--answers: step 7 of episode 'z' is not in "),
    ],
)
def test_answers_that_do_not_fit_are_refused(log, answers, said):
    with pytest.raises(InputError) as caught:
        list(answered_rows(log, answers, log.parent))
    assert said in str(caught.value)
