from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swirl_lightning.codecs import decode_delta, encode_delta
from swirl_lightning.environments.physics.objects import read_objects, write_objects


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


def test_objects_are_sorted_distinct_facts():
    assert write_objects(world()).split("\n") == [
        "coin (ID: 3) is Thing",
        "lamp (ID: 2) is Thing",
        "lamp (ID: 2) on = false",
        "lamp (ID: 2) wires.blue.thick = 2.5",
        'lamp (ID: 2) wires.red = [null, "wall"]',
        "room (ID: 1) contains coin (ID: 3)",
        "room (ID: 1) contains lamp (ID: 2)",
        "room (ID: 1) is World",
    ]


def test_one_change_is_one_edit():
    before, after = write_objects(world()), write_objects(world(on=True))
    assert encode_delta(before, after) == "- lamp (ID: 2) on = false\n+ lamp (ID: 2) on = true"
    assert decode_delta(before, encode_delta(before, after)) == after


keys = st.from_regex(r"[a-zA-Z_]{1,5}", fullmatch=True)
words = st.from_regex(r"[a-z]{1,4}( [a-z(]{1,3})?", fullmatch=True)
leaves = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(leaves | st.lists(leaves), lambda inner: st.dictionaries(keys, inner), max_leaves=4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(words, st.dictionaries(keys, values)), max_size=4))
def test_objects_are_read_back(drawn):
    objects = [thing(uuid, name, **properties) for uuid, (name, properties) in enumerate(drawn)]
    for it, inside in pairwise(objects):
        it["contains"] = [inside["name"]]
    assert read_objects(write_objects(objects)) == {it["uuid"]: it for it in objects}


@settings(max_examples=60, deadline=None)
@given(st.text() | st.lists(st.sampled_from(write_objects(world()).split("\n"))).map("\n".join))
def test_reading_never_raises(text):
    read_objects(text)


@pytest.mark.parametrize(
    "text",
    [
        "lamp on = true",
        "lamp (ID: 2) on = true\nlamp (ID: 2) on = false",
        "lamp (ID: 2) on = true\nlamp (ID: 2) on = true",
        "lamp (ID: 2) is Lamp\nlamp (ID: 2) is Thing",
        "lamp (ID: 2) is Lamp\ncoin (ID: 2) is Coin",
        "lamp (ID: 2) on = yes",
        "lamp (ID: 2) on = 1\nlamp (ID: 2) on.high = 1",
        "lamp (ID: 2) contains coin",
        "lamp (ID: 2) on = " + "[" * 100_000,
        "lamp (ID: " + "9" * 5000 + ") is Lamp",
    ],
)
def test_what_is_no_world_is_none(text):
    assert read_objects(text) is None


@pytest.mark.parametrize(
    "objects",
    [
        [thing(1, "a"), thing(1, "b")],
        [thing(1, "two words", kind="Two Words")],
        [thing(1, "a") | {"name": "a"}],
        [thing(1, "a", **{"a.b": 1})],
        [thing(1, "a", **{"a b": 1})],
    ],
)
def test_objects_that_could_not_be_read_back_are_refused(objects):
    with pytest.raises(ValueError, match="cannot be told from their facts"):
        write_objects(objects)
