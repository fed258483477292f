import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from swirl_lightning.metrics import RougeL
from swirl_lightning.metrics.rouge import rouge_l
from swirl_lightning.types import Prediction, Transition

google = RougeScorer(["rougeL"], use_stemmer=False)
texts = st.lists(st.sampled_from(["take", "Cup", "the", "-", "n_2", "é", "it's", "\n", "10.5", "<a>"]), max_size=12)
anything = texts.map(" ".join) | st.text(max_size=20)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(anything, anything)
def test_agrees_with_googles_package(prediction, target):
    assert rouge_l(prediction, target) == pytest.approx(google.score(target, prediction)["rougeL"].fmeasure)


@pytest.mark.parametrize(
    ("prediction", "target", "score"),
    [
        ("police kill the gunman", "police killed the gunman", 0.75),  # the first example of Lin 2004
        ("the gunman kill police", "police killed the gunman", 0.5),
        ("The lamp: ON!", "the lamp on", 1),
        ("the cups", "the cup", 0.5),  # no stemming
        ("a a b", "a b b", 2 / 3),
        ("", "", 0),
        ("...", "...", 0),
    ],
)
def test_worked_examples(prediction, target, score):
    assert rouge_l(prediction, target) == pytest.approx(score)


def test_the_mean_over_transitions_of_the_next_states():
    metric = RougeL()
    transitions = [Transition("e", i, "x", "the lamp is on", "press") for i in range(3)]
    said = ["the lamp is on", None, "the lamp"]
    metric.update(transitions[:1], [Prediction("noise", said[0])])
    metric.update(transitions[1:], [Prediction("press", text) for text in said[1:]])
    assert metric.compute() == pytest.approx((1 + 0 + 2 / 3) / 3)


def test_every_transition_needs_its_prediction():
    metric = RougeL()
    with pytest.raises(ValueError, match="zip"):
        metric.update([Transition("e", 0, "x", "y")], [])
    assert metric.count == 0


def test_long_pages_are_cheap(million_steps):
    page = " ".join(f"node {i % 97}" for i in range(10_000))
    started = time.process_time()
    score = rouge_l(page, page.replace("node 5", "link 5"))
    assert time.process_time() - started < 200 * million_steps  # the quadratic table needs thousands
    assert 0.9 < score < 1
