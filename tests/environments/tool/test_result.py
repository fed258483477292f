"""Results as text."""

import json

import pytest

from swirl_lightning.environments.tool.result import WIDTH, pretty, result_block


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 1, "b": {"c": [1, 2]}}, '{\n "a": 1,\n "b": {"c": [1, 2]}\n}'),
        ([{"a": "é"}, []], '[\n {"a": "é"},\n []\n]'),
        ([["x" * WIDTH]], '[\n [\n  "' + "x" * WIDTH + '"\n ]\n]'),
        ({}, "{}"),
        (3, "3"),
    ],
)
def test_json_stands_one_key_a_line(value, text):
    assert pretty(value) == text
    assert json.loads(text) == value
    assert result_block(json.dumps(value)) == text


def test_what_is_no_json_stands_as_it_is():
    for text in ("plain\ntext", "", '{"a": 1, "a": 2}', '{"a": ', "[" * 10_000):
        assert result_block(text) == text
    assert result_block('["\\ud800"]') == '[\n "\\ud800"\n]'
    assert result_block("half \ud800") == "half ?"
    assert result_block('["\U0007e7a2", "😀"]') == '[\n "\\ud9b9\\udfa2",\n "😀"\n]'
