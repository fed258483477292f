"""Calls as text and back, and what of a call the IDM has right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swirl_lightning.environments.splits import kind
from swirl_lightning.environments.tool.call import CallArguments, CallTool, read_call, write_call
from swirl_lightning.types import Prediction, Transition

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def action(text):
    return Transition("e", 0, "x", "y", text)


def scores(metric, pairs):
    found = []
    for said, true in pairs:
        one = metric()
        one.update([action(true)], [Prediction(said, None)])
        found.append(one.compute().item())
    return found


@given(arguments=st.dictionaries(st.text(), JSON, max_size=4))
def test_a_call_comes_back(arguments):
    text = write_call("open_nodes", arguments)
    assert "\n" not in text
    assert read_call(text) == ("open_nodes", arguments)
    assert kind(action(text)) == "open_nodes"


def test_the_tool_is_one_word():
    assert write_call("List  Languages (old)", {"a": 1}) == 'List_Languages_(old) {"a": 1}'
    assert write_call("find", "{'no': json}") == "find {'no': json}"
    assert read_call("find {'no': json}") == ("find", "{'no': json}")
    assert read_call("") == ("", "")
    assert read_call("find " + "[" * 10_000)[0] == "find"


def test_tool_accuracy():
    pairs = [('f {"a": 1}', "f {}"), ("g {}", "f {}"), ("", "f {}")]
    assert scores(CallTool, pairs) == [1, 0, 0]


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ('f {"b": {"c": [1, "x"]}, "a": true}', 1.0),  # the order of names means nothing
        ('f {"a": true, "b": {"c": ["x", 1]}}', 1 / 3),  # but that of a list does
        ('f {"a": 1, "b": {"c": [1, "x"]}}', 2 / 3),  # true is not 1
        ('f {"a": true}', 2 * 1 / 4),
        ('f {"z": true}', 0.0),
        ("f {}", 0.0),
        ('f {"a": tru', 0.0),
        ('g {"a": true, "b": {"c": [1, "x"]}}', 0.0),
    ],
)
def test_arguments_by_name_and_value(said, score):
    assert scores(CallArguments, [(said, 'f {"a": true, "b": {"c": [1, "x"]}}')]) == [pytest.approx(score)]


def test_calls_without_arguments():
    assert scores(CallArguments, [("f {}", "f {}"), ('f {"a": 1}', "f {}"), ("g {}", "f {}")]) == [1, 0, 0]
    assert scores(CallArguments, [('f {"a": []}', 'f {"a": []}'), ('f {"a": {}}', 'f {"a": []}')]) == [1, 0]
    assert scores(CallArguments, [("f {a}, {b}", "f {a}, {b}"), ("f {a}", "f {a}, {b}")]) == [1, 0]
