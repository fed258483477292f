"""Drawn calls fit their schemas, speak of what exists, and documentation says what a schema does."""

import json
import random

import pytest

from swirl_lightning.environments.tool.call_drawer import CallDrawer, field_words
from swirl_lightning.environments.tool.documentation import Tool, document

SCHEMA = {
    "type": "object",
    "$defs": {"Point": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}},
    "properties": {
        "mode": {"enum": ["fast", "slow"], "description": "How."},
        "fixed": {"const": 7},
        "count": {"type": "integer", "minimum": 3, "maximum": 5},
        "odd": {"type": "integer", "exclusiveMinimum": 0, "multipleOf": 7, "maximum": 30},
        "share": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "day": {"type": "string", "format": "date"},
        "clock": {"type": "string", "description": "In 24-hour format (HH:MM)"},
        "zone": {"type": "string", "description": "An IANA name (e.g. 'Asia/Tokyo', 'Europe/Oslo')"},
        "code": {"type": "string", "pattern": "^a", "maxLength": 3},
        "long": {"type": "string", "minLength": 20},
        "maybe": {"anyOf": [{"type": "string", "enum": ["yes"]}, {"type": "null"}], "default": None},
        "points": {"type": "array", "items": {"$ref": "#/$defs/Point"}, "minItems": 2, "maxItems": 2},
        "both": {"allOf": [{"$ref": "#/$defs/Point"}, {"properties": {"y": {"type": "boolean"}}, "required": ["y"]}]},
        "types": {"type": ["null", "integer"]},
        "head": {"type": "integer", "default": 10},
    },
}
REQUIRED = sorted(set(SCHEMA["properties"]) - {"head"})
FULL = Tool("do", "Does\n  it.", SCHEMA | {"required": REQUIRED})


def drawer(seed=0, values=None, folder=None):
    return CallDrawer(random.Random(seed), values or {}, folder)


def one(schema, **options):
    """A tool with one string argument of the name ``it``, unless the schema says otherwise."""
    return Tool("t", "", {"properties": {"it": {"type": "string"} | schema}, "required": ["it"]}, **options)


def draws(tool, count=60, **options):
    made = drawer(**options)
    return [made.arguments(tool) for _ in range(count)]


def test_arguments_fit_their_schema():
    jsonschema = pytest.importorskip("jsonschema")
    drawn = draws(FULL, 200)
    for arguments in drawn:
        jsonschema.validate(arguments, dict(FULL.schema))
        assert arguments["zone"] in ("Asia/Tokyo", "Europe/Oslo")
        assert arguments["clock"] in ("08:30", "12:00", "23:45")
        assert arguments["day"][:2] == "20"
        assert arguments["maybe"] == "yes"
    assert {a["count"] for a in drawn} == {3, 4, 5}
    assert {a["odd"] for a in drawn} == {7, 14, 21, 28}
    assert 20 < sum("head" in a for a in drawn) < 90
    assert json.loads(json.dumps(drawn)) == drawn


def test_the_seed_decides():
    assert draws(FULL, 20, seed=1) == draws(FULL, 20, seed=1) != draws(FULL, 20, seed=2)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("entityNames", ("entity", "name")),
        ("repo_path", ("repo", "path")),
        ("max-count", ("max", "count")),
        ("class", ("class",)),
    ],
)
def test_words_of_a_field(name, words):
    assert field_words(name) == words


@pytest.mark.parametrize(
    ("schema", "uses"),
    [
        ({"properties": {"name": {"type": "string"}}, "required": ["name"]}, True),
        ({"properties": {"entityNames": {"type": "array", "items": {}}}, "required": ["entityNames"]}, True),
        ({"properties": {"from": {"type": "string", "description": "A name to begin at"}}, "required": ["from"]}, True),
        ({"properties": {"kind": {"type": "string"}}, "required": ["kind"]}, False),
        ({"properties": {"name": {"type": "string", "maxLength": 2}}, "required": ["name"]}, False),
    ],
)  # fmt: skip
def test_later_calls_use_what_was_seen_under_that_name(schema, uses):
    made = drawer()
    made.remember({"graph": [{"name": "Zoe-17", "size": 2.5, "note": "x" * 500}]})
    drawn = [json.dumps(made.arguments(Tool("t", "", schema))) for _ in range(60)]
    assert (20 < sum("Zoe-17" in text for text in drawn) < 60) == uses
    assert uses or not any("Zoe" in text for text in drawn)


def test_numbers_that_were_seen_come_back_too():
    made = drawer()
    made.remember({"issueId": 4711})
    tool = Tool("t", "", {"properties": {"id": {"type": "integer"}}, "required": ["id"]})
    assert 4711 in [made.arguments(tool)["id"] for _ in range(30)]


def test_a_small_word_is_no_name():
    made = drawer()
    made.remember({"to": "Zoe-17"})
    tool = one({"description": "What to add"})
    assert all(made.arguments(tool)["it"] != "Zoe-17" for _ in range(60))


def test_the_users_values_come_before_the_pool():
    assert {a["it"] for a in draws(one({}), values={"it": ["p", "q"]})} == {"p", "q"}
    assert {a["it"] for a in draws(one({"description": "a color"}), values={"color": ["red"]})} == {"red"}
    assert all(type(a["it"]) is str for a in draws(one({})))
    assert {a["it"] for a in draws(one({"examples": ["e"], "default": "d"}))} == {"e", "d"}


def test_paths_stand_under_the_folder():
    tool = Tool("t", "", {"properties": {"file_path": {"type": "string"}}, "required": ["file_path"]})
    assert all(a["file_path"].startswith("{folder}/") for a in draws(tool, folder="{folder}"))
    assert not any("folder" in a["file_path"] for a in draws(tool))


def test_what_writes_comes_first():
    tools = [one({}, read_only=True), one({})]
    made = drawer()
    assert [made.choose(tools) for _ in range(20)] == [tools[1]] * 20
    made.remember({"name": "a"})
    assert tools[0] in [made.choose(tools) for _ in range(20)]
    assert drawer().choose(tools[:1]) == tools[0]


def test_what_failed_waits_for_something_new():
    tools = [Tool("a", "", {}), Tool("b", "", {})]
    made = drawer()
    made.remember({"name": "x"})
    made.fail("a")
    made.remember({"name": "x"})
    assert {made.choose(tools).name for _ in range(20)} == {"b"}
    made.fail("b")
    assert {made.choose(tools).name for _ in range(20)} == {"a", "b"}
    made.fail("a")
    made.remember({"name": "y"})
    assert {made.choose(tools).name for _ in range(20)} == {"a", "b"}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": {"it": True}, "required": ["it"]},
        {"properties": {"it": {"$ref": "#/nowhere"}}, "required": ["it"]},
        {"properties": {"it": {"$ref": "#"}}, "required": ["it"]},
        {"properties": {"it": {"allOf": [{"$ref": "#/properties/it"}]}}, "required": ["it"]},
        {"properties": {"it": {"type": "array"}}, "required": ["it"]},
        {"properties": {"it": {"type": "string", "pattern": "("}}, "required": ["it"]},
        {"properties": {"it": {"type": "integer", "minimum": 5, "maximum": 5, "multipleOf": 2}}, "required": ["it"]},
    ],
)
def test_odd_schemas_break_nothing(schema):
    tool = Tool("t", "", schema)
    assert all(isinstance(arguments, dict) for arguments in draws(tool, 10))
    assert document(tool, "full").startswith("t(")


def test_documentation():
    assert document(FULL, "short") == (
        'do(mode: "fast" | "slow", fixed: 7, count: integer 3..5, odd: integer ..30, share: number, day: date, '
        'clock: string, zone: string, code: string, long: string, maybe: "yes" | null, points: [{x: integer}], '
        "both: {x: integer, y: boolean}, types: null | integer, head?: integer = 10)"
    )
    lines = document(FULL, "full").split("\n")
    assert lines[1:3] == [" Does it.", " mode: How."]
    nested = {"properties": {"a": {"description": "All", "items": {"properties": {"b": {"description": "One"}}}}}}
    assert document(Tool("t", "", nested), "full").split("\n")[1:] == [" a: All", " a.b: One"]
