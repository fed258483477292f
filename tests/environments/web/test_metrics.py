"""What of an action on a page the IDM has right."""

import math

from torchmetrics import MetricCollection

from swirl_lightning.environments.web.metrics import OperationAccuracy
from swirl_lightning.environments.web.operation import Operation
from swirl_lightning.types import Prediction, Transition


def scores(*pairs, **options):
    metrics = {part: OperationAccuracy(part, **options) for part in ("name", "element", "arguments")}
    transitions = [Transition("e", step, "x", "y", truth) for step, (truth, _) in enumerate(pairs)]
    for metric in metrics.values():
        metric.update(transitions, [Prediction(said, None) for _, said in pairs])
    return {part: metric.compute().item() for part, metric in metrics.items()}


def test_each_part_is_scored_alone():
    truth = "TYPE <input id=q> = red shoes"
    assert scores((truth, truth)) == {"name": 1, "element": 1, "arguments": 1}
    assert scores((truth, "TYPE <input id=q>  =  red  shoes")) == {"name": 1, "element": 1, "arguments": 1}
    assert scores((truth, "CLICK <input id=q>")) == {"name": 0, "element": 1, "arguments": 0}
    assert scores((truth, "TYPE <input id=z> = red shoes")) == {"name": 1, "element": 0, "arguments": 1}
    assert scores((truth, "TYPE <input id=q> = shoes")) == {"name": 1, "element": 1, "arguments": 0}
    assert scores((truth, "")) == {"name": 0, "element": 0, "arguments": 0}


def test_arguments_count_where_there_are_any():
    click, type_ = ("CLICK <a> Home", "CLICK <a> Home = x"), ("TYPE <input id=q> = 1", "TYPE <input id=q> = 2")
    assert math.isnan(scores(click)["arguments"])
    assert scores(click, type_)["arguments"] == 0
    assert scores(click, click, (type_[0], type_[0]), type_)["arguments"] == 0.5


def test_another_parser_serves_another_form():
    calls = ("get(1)", "get(2)")
    found = scores(calls, parse=lambda text: Operation(text[:3], "", text[3:]))
    assert found == {"name": 1, "element": 1, "arguments": 0}


def test_a_collection_keeps_the_parts_apart():
    metrics = MetricCollection({part: OperationAccuracy(part) for part in ("name", "element")})
    for said in ("CLICK <a> Home", "CLICK <a> Search"):  # the first batch is all right in both
        metrics.update([Transition("e", 0, "x", "y", "CLICK <a> Home")], [Prediction(said, None)])
    assert {name: score.item() for name, score in metrics.compute().items()} == {"name": 1, "element": 0.5}
