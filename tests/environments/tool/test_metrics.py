"""What of a call the IDM has right, and how the FWM's responses are scored."""

import json

import pytest
import torch

from swirl_lightning.environments.tool.metrics import CallArguments, CallTool, CharBleu
from swirl_lightning.types import Prediction, Transition


def action(text):
    return Transition("e", 0, "x", "y", text)


def scores(metric, pairs):
    found = []
    for said, true in pairs:
        one = metric()
        one.update([action(true)], [Prediction(said, None)])
        found.append(one.compute().item())
    return found


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


def transition(response):
    return Transition("e", 0, "doc " * 100, "doc " * 100 + "\n" + response, "call {}")


def test_the_documentation_is_not_scored():
    true = json.dumps({"error": "", "response": "abcdef"})
    t = transition(true)
    metric = CharBleu()
    metric.update([t], [Prediction("", t.next_state)])
    assert metric.compute().item() == pytest.approx(100)
    copied = CharBleu()
    copied.update([t, t], [Prediction("", t.state), Prediction("", None)])
    assert copied.compute().item() == 0
    pretty = CharBleu()
    pretty.update([t], [Prediction("", t.state + "\n" + json.dumps(json.loads(true), indent=1))])
    assert pretty.compute().item() == pytest.approx(100)


def test_the_mean_is_over_transitions():
    t = transition("abcd")
    metric = CharBleu()
    metric.update([t], [Prediction("", t.next_state)])
    metric.update([t, t, t], [Prediction("", None)] * 3)
    assert metric.compute() == torch.tensor(25.0, dtype=torch.float64)
    with pytest.raises(ValueError, match="shorter"):
        metric.update([t, t], [Prediction("", None)])
