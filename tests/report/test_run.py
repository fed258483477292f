import json

import pytest

from swirl_lightning.report import read_run
from swirl_lightning.report.run import number
from swirl_lightning.types import InputError


def test_a_whole_run_is_read(write, results, history, samples):
    run = read_run(write(results, history, samples))
    assert run.results == results
    assert run.history == history
    assert run.samples == samples


def test_history_and_samples_may_be_missing(write, results):
    run = read_run(write(results))
    assert run.history == []
    assert run.samples == []


def test_results_must_be_there(tmp_path):
    with pytest.raises(InputError, match=r"results\.json: not found"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", 'expected an object with a list "stages", found list'),
        ('{"seed": 0}', r"found the keys \['seed'\]"),
        ('{"stages": [{"stage": "a"}, {"updates": 1}]}', r"stages\[1\]: .*'updates'"),
        ('{"stages": [{"stage": "a", "metrics": [1]}]}', r"stages\[0\]\.metrics: expected an object"),
    ],
)
def test_malformed_results_are_named(tmp_path, text, message):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_run(tmp_path)


@pytest.mark.parametrize("name", ["history.jsonl", "samples.jsonl"])
@pytest.mark.parametrize(("line", "message"), [("{oops", "not valid JSON"), ('{"update": 1}', 'a name "stage"')])
def test_a_malformed_line_is_named(write, results, name, line, message):
    folder = write(results)
    (folder / name).write_text('{"stage": "vim-1"}\n' + line + "\n")
    with pytest.raises(InputError, match=rf"{name}:2: .*{message}"):
        read_run(folder)


def test_the_half_line_of_a_killed_run_is_passed_over(write, results):
    folder = write(results)
    (folder / "history.jsonl").write_text('{"stage": "vim-1"}\n{"stage": "vi')
    assert read_run(folder).history == [{"stage": "vim-1"}]


def test_number_takes_finite_numbers_only():
    row = json.loads('{"a": 1, "b": NaN, "c": null, "d": true, "e": "2", "f": -Infinity}')
    assert [number(row, key) for key in "abcdefg"] == [1.0, None, None, None, None, None, None]
