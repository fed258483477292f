"""Which worlds of objects are right, by the rules of the benchmark."""

import pytest
from torchmetrics import MetricCollection

from swirl_lightning.environments.physics.metrics import StateAccuracy
from swirl_lightning.environments.physics.objects import write_objects
from swirl_lightning.types import Prediction, Transition


def thing(uuid, name, *contains, kind="Thing", **properties):
    return {
        "name": f"{name} (ID: {uuid})", "uuid": uuid, "type": kind, "properties": properties, "contains": list(contains)
    }  # fmt: skip


def world(on=False, inside=("lamp (ID: 2)", "coin (ID: 3)"), **more):
    return [
        thing(1, "room", *inside, kind="World"),
        thing(2, "lamp", on=on, wires={"red": [None, "wall"], "blue": {"thick": 2.5}}, **more),
        thing(3, "coin"),
    ]


def step(before, after):
    return Transition("e", 0, write_objects(before), write_objects(after), "act")


def accuracy(transition, predicted, of="all"):
    metric = StateAccuracy(of)
    text = predicted if predicted is None or isinstance(predicted, str) else write_objects(predicted)
    metric.update([transition], [Prediction("act", text)])
    return metric.compute().item()


@pytest.mark.parametrize(
    ("predicted", "right"),
    [
        (world(on=True), 1.0),
        (world(on=True, inside=("coin (ID: 3)", "lamp (ID: 2)")), 1.0),  # order of what is inside
        ([*world(on=True), thing(4, "ghost")], 1.0),  # the script of the benchmark looks only for what must be there
        (world(on=True, hum=True), 1.0),
        (world(on=False), 0.0),
        (world(on=True, inside=("coin (ID: 3)",)), 0.0),
        (world(on=True)[:2], 0.0),  # an object is missing
        ([world(on=True)[0], thing(2, "lamp", on=True), thing(3, "coin")], 0.0),  # a property is missing
        (write_objects(world(on=True)).replace("2.5", "2.50"), 1.0),  # a number is compared, not its text
        (write_objects(world(on=True)).replace('"wall"', '"hall"'), 0.0),
        ("no facts", 0.0),
        (None, 0.0),
    ],
)
def test_a_state_is_right_by_the_rules_of_the_benchmark(predicted, right):
    assert accuracy(step(world(), world(on=True)), predicted) == right


def test_a_null_must_be_said():
    now = [thing(1, "a", key=None)]
    assert accuracy(step(now, now), [thing(1, "a")]) == 0.0
    assert accuracy(step(now, now), now) == 1.0


def test_dynamic_and_static_transitions_are_counted_apart():
    still, moves = step(world(), world()), step(world(), world(on=True))
    grows, shrinks = step(world(), [*world(), thing(4, "new")]), step([*world(), thing(4, "old")], world())
    gains, loses = step(world(), world(hum=True)), step(world(hum=True), world())
    rows = [still, moves, grows, shrinks, gains, loses]
    metrics = {of: StateAccuracy(of) for of in ("all", "dynamic", "static")}
    for metric in metrics.values():
        metric.update(rows, [Prediction("act", t.state) for t in rows])  # copies
    # a copy keeps the object or property that should have gone, which the benchmark's script lets pass
    assert {of: (m.total.item(), m.count.item()) for of, m in metrics.items()} == {
        "all": (3, 6), "dynamic": (2, 5), "static": (1, 1)
    }  # fmt: skip


def test_the_truth_must_be_made_of_facts():
    with pytest.raises(ValueError, match="episode 'e' step 0: expected facts of objects"):
        StateAccuracy().update([Transition("e", 0, "a", "b", "act")], [Prediction("act", "b")])


def test_a_collection_keeps_what_is_counted_apart():
    metrics = MetricCollection({of: StateAccuracy(of) for of in ("all", "dynamic")})
    for row in (step(world(), world(on=True)), step(world(), world())):  # the first batch is all wrong in both
        metrics.update([row], [Prediction("act", row.state)])
    assert {of: score.item() for of, score in metrics.compute().items()} == {"all": 0.5, "dynamic": 0}
