import re
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.text import SQuAD

from swirl_lightning.metrics import DeltaF1, ExactMatch, TokenF1
from swirl_lightning.types import Prediction, Transition

reproducible = settings(derandomize=True, deadline=None)
words = st.lists(st.sampled_from(["take", "drop", "cup", "lamp"]), max_size=5).map(" ".join)
rows = st.lists(st.tuples(st.none() | words, words), min_size=1, max_size=6)


def value(metric, *columns):
    metric.update(*columns)
    return metric.compute().item()


def naive_f1(predicted, target):
    """From precision and recall, matching one item at a time."""
    left, hits = list(target), 0
    for item in predicted:
        if item in left:
            left.remove(item)
            hits += 1
    if not predicted and not target:
        return 1.0
    if not hits:
        return 0.0
    precision, recall = hits / len(predicted), hits / len(target)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(
    ("prediction", "target", "score"),
    [
        ("a b", "a b", 1),
        ("\n a b", "a b \n", 1),  # stripped, as in Word2World
        ("a  b", "a b", 0),
        ("A b", "a b", 0),
        ("a b.", "a b", 0),
        ("", "", 1),
        (None, "", 0),
    ],
)
def test_exact_match_worked_examples(prediction, target, score):
    assert value(ExactMatch(), [prediction], [target]) == score


def test_exact_match_is_a_mean():
    assert value(ExactMatch(), ["a", "b ", None, "c"], ["a", "b", "", "d"]) == 0.5


@pytest.mark.parametrize(
    ("prediction", "target", "f1"),
    [
        ("take the cup", "take cup", 0.8),
        ("cup take", "take cup", 1),
        ("cup cup cup", "cup", 0.5),
        ("Cup", "cup", 0),
        ("", "", 1),
        ("", "cup", 0),
        ("cup", " \n", 0),
        (None, "", 0),
    ],
)
def test_token_f1_worked_examples(prediction, target, f1):
    assert value(TokenF1(), [prediction], [target]) == pytest.approx(f1)


@reproducible
@given(rows)
def test_token_f1_matches_the_naive_one(rows):
    predictions, targets = map(list, zip(*rows, strict=True))
    want = [0.0 if p is None else naive_f1(p.split(), t.split()) for p, t in rows]
    assert value(TokenF1(), predictions, targets) == pytest.approx(sum(want) / len(want))


def test_token_f1_and_exact_match_agree_with_squad():
    """On words that SQuAD's normalisation leaves as they are."""
    rows = [
        ("take cup from lamp", "take cup"),
        ("drop lamp", "drop lamp"),
        ("open", "take cup"),
        ("cup take", "take cup"),
    ]
    predictions, targets = map(list, zip(*rows, strict=True))
    squad = SQuAD()
    squad.update(
        [{"prediction_text": p, "id": str(i)} for i, p in enumerate(predictions)],
        [{"answers": {"answer_start": [0], "text": [t]}, "id": str(i)} for i, t in enumerate(targets)],
    )
    want = squad.compute()
    assert 100 * value(TokenF1(), predictions, targets) == pytest.approx(want["f1"].item())
    assert 100 * value(ExactMatch(), predictions, targets) == pytest.approx(want["exact_match"].item())


STATE = "coin on floor\nkeycard in safe\nsafe open"


@pytest.mark.parametrize(
    ("prediction", "target", "f1"),
    [
        ("coin on floor\nkeycard carried\nsafe open", "coin on floor\nkeycard carried\nsafe open", 1),
        (STATE, STATE, 1),
        (STATE, "coin on floor\nkeycard carried\nsafe open", 0),  # a copy, though most of it is right
        ("coin on floor\nkeycard carried\nsafe open", STATE, 0),
        ("coin on floor\nkeycard on floor\nsafe open", "coin on floor\nkeycard carried\nsafe open", 0.5),
        ("coin on floor\nsafe open", "coin on floor\nkeycard carried\nsafe open", 2 / 3),
        ("coin on floor\ncoin on floor\nsafe open", "coin on floor\nsafe open", 2 / 3),  # added what was there
        (None, STATE, 0),
        ("", "", 1),
    ],
)
def test_delta_f1_worked_examples(prediction, target, f1):
    assert value(DeltaF1(), [STATE], [prediction], [target]) == pytest.approx(f1)


def test_delta_f1_keeps_removed_and_added_apart():
    assert value(DeltaF1(), ["a"], ["a\na"], [""]) == 0
    assert value(DeltaF1(), ["a"], [""], ["a\na"]) == 0


@reproducible
@given(st.lists(st.tuples(*[st.lists(st.sampled_from("abc"), min_size=1, max_size=4)] * 3), min_size=1, max_size=4))
def test_delta_f1_matches_the_naive_one(rows):
    def changes(x, y):
        counts = Counter(y)
        counts.subtract(x)
        return [(line, count > 0, i) for line, count in counts.items() for i in range(abs(count))]

    want = [naive_f1(changes(x, p), changes(x, y)) for x, p, y in rows]
    columns = [["\n".join(lines) for lines in column] for column in zip(*rows, strict=True)]
    assert value(DeltaF1(), *columns) == pytest.approx(sum(want) / len(want))


@pytest.mark.parametrize("metric", [ExactMatch(), TokenF1(), DeltaF1()], ids=lambda metric: type(metric).__name__)
def test_lengths_must_agree(metric):
    columns = [["a"]] * (2 if isinstance(metric, DeltaF1) else 1)
    with pytest.raises(ValueError, match="1 predictions, 2 targets"):
        metric.update(*columns, ["a", "b"])
    assert metric.count == 0


def test_items_weigh_the_same_whatever_the_batch():
    metric = ExactMatch()
    metric.update(["a"], ["a"])
    metric.update(["a", "b", "c"], ["x", "y", "z"])
    metric.update([], [])
    assert metric.compute() == 0.25
    metric.reset()
    assert value(metric, ["a"], ["a"]) == 1


def test_forward_gives_the_batch_and_keeps_the_whole():
    metric = ExactMatch()
    assert metric(["a"], ["a"]) == 1
    assert metric(["a"], ["b"]) == 0
    assert metric.compute() == 0.5


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_nothing_seen_is_nan():
    assert torch.isnan(ExactMatch().compute())


@pytest.mark.parametrize("convert", [lambda m: m.to(torch.bfloat16), lambda m: m.half()], ids=["to", "half"])
def test_a_half_precision_module_keeps_the_sum_exact(convert):
    module = nn.Module()
    module.metric = ExactMatch()
    module = convert(module)
    for _ in range(3):
        module.metric.update(["a"] * 333, ["a"] * 333)
    assert module.metric.compute() == 1
    module.metric.reset()
    assert module.metric.total.dtype == torch.float64


def test_a_collection_keeps_metrics_with_equal_first_values_apart():
    metrics = MetricCollection([ExactMatch(), TokenF1(), DeltaF1()])
    metrics.update(states=["a"], predictions=[None], targets=["a b"])
    metrics.update(states=["a"], predictions=["b a"], targets=["a b"])
    assert {name: score.item() for name, score in metrics.compute().items()} == {
        "ExactMatch": 0,
        "TokenF1": 0.5,
        "DeltaF1": 0.25,
    }


def test_the_metric_that_the_documents_add(pytestconfig):
    page = (pytestconfig.rootpath / "docs/metrics.md").read_text(encoding="utf-8")
    names = {}
    exec(re.search(r"```python\n(# decoded\.py.*?)```", page, re.DOTALL)[1], names)
    transitions = [Transition("e", step, "x", "y", "z") for step in range(4)]
    assert value(names["Decoded"](), transitions, [Prediction("z", text) for text in ("y", None, "", "x")]) == 0.75
