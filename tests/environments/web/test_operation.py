import math

import pytest

from swirl_lightning.environments.web.operation import Operation, operation_metrics, parse_operation
from swirl_lightning.types import Prediction, Transition


def scores(*pairs, **options):
    metrics = operation_metrics(**options)
    transitions = [Transition("e", step, "x", "y", truth) for step, (truth, _) in enumerate(pairs)]
    for metric in metrics.values():
        metric.update(transitions, [Prediction(said, None) for _, said in pairs])
    return {name.removeprefix("idm_"): metric.compute().item() for name, metric in metrics.items()}


@pytest.mark.parametrize(
    "operation",
    [
        Operation("CLICK", "<button> Search"),
        Operation("CLICK", "<a> 1 + 1"),
        Operation("TYPE", "<input id=q>", "shoes"),
        Operation("TYPE", "<input id=q> (2 of 3)", "a = b"),
        Operation("TYPE", '<input aria-label="size > 3 = large">', "<b> = 1"),
        Operation("TYPE", "<input id=q>", ""),
        Operation("WAIT"),
    ],
)
def test_an_action_comes_apart_as_it_was_put_together(operation):
    assert parse_operation(str(operation)) == operation


@pytest.mark.parametrize("text", ["", "  ", "CLICK", "<button", '<a "', " = ", "CLICK the = button", "\n="])
def test_any_text_has_parts(text):
    assert isinstance(parse_operation(text), Operation)


def test_each_part_is_scored_alone():
    truth = "TYPE <input id=q> = red shoes"
    assert scores((truth, truth)) == {"operation": 1, "element": 1, "arguments": 1}
    assert scores((truth, "TYPE <input id=q>  =  red  shoes")) == {"operation": 1, "element": 1, "arguments": 1}
    assert scores((truth, "CLICK <input id=q>")) == {"operation": 0, "element": 1, "arguments": 0}
    assert scores((truth, "TYPE <input id=z> = red shoes")) == {"operation": 1, "element": 0, "arguments": 1}
    assert scores((truth, "TYPE <input id=q> = shoes")) == {"operation": 1, "element": 1, "arguments": 0}
    assert scores((truth, "")) == {"operation": 0, "element": 0, "arguments": 0}


def test_arguments_count_where_there_are_any():
    click, type_ = ("CLICK <a> Home", "CLICK <a> Home = x"), ("TYPE <input id=q> = 1", "TYPE <input id=q> = 2")
    assert math.isnan(scores(click)["arguments"])
    assert scores(click, type_)["arguments"] == 0
    assert scores(click, click, (type_[0], type_[0]), type_)["arguments"] == 0.5


def test_another_parser_serves_another_form():
    calls = ("get(1)", "get(2)")
    found = scores(calls, parse=lambda text: Operation(text[:3], "", text[3:]))
    assert found == {"operation": 1, "element": 1, "arguments": 0}
