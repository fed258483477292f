"""Drawn calls fit their schemas, speak of what exists, and documentation says what a schema does."""

import json
import random

import pytest

from swirl_lightning.environments.tool.call import Call
from swirl_lightning.environments.tool.call_drawer import CallDrawer, field_words
from swirl_lightning.environments.tool.documentation import Tool, document
from swirl_lightning.environments.tool.fitness import choose_fit
from swirl_lightning.types import InputError

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


TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
NEED_A, NEED_B = {"required": ["a"]}, {"required": ["b"]}
A_B = {"type": "object", "properties": {"a": TEXT, "b": NUMBER}}
TREE = {
    "type": "object",
    "properties": {"value": NUMBER, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    "required": ["value", "next"],
}
FIT = {
    "empty": {},
    "an open field": {"properties": {"it": True}, "required": ["it"]},
    "a list of anything": {"properties": {"it": {"type": "array"}}, "required": ["it"]},
    "one of two": A_B | {"anyOf": [NEED_A, NEED_B]},
    "exactly one of two": A_B | {"oneOf": [NEED_A, NEED_B], "additionalProperties": False},
    "one of two, twice": A_B | {"anyOf": [NEED_A, NEED_B], "oneOf": [{"minProperties": 2}, {"maxProperties": 1}]},
    "one of whole objects": {"anyOf": [A_B | NEED_A, {"properties": {"c": {"const": 1}}, "required": ["c"]}]},
    "never": A_B | {"anyOf": [False, NEED_B]},
    "always": A_B | NEED_A | {"anyOf": [True, False]},
    "a forbidden field": {"properties": {"a": False, "b": TEXT}, "required": ["b"]},
    "nested": {"properties": {"o": A_B | {"anyOf": [NEED_A, NEED_B]}}, "required": ["o"]},
    "a field of two kinds": {
        "properties": {"it": {"anyOf": [TEXT | {"minLength": 12}, {"type": "array", "items": NUMBER}], "title": "It"}},
        "required": ["it"],
    },
    "bounds besides the choice": {
        "properties": {"n": {"type": "integer", "minimum": 5, "anyOf": [{"maximum": 7}, {"multipleOf": 9}]}},
        "required": ["n"],
    },
    "two parts of one field": {
        "allOf": [{"properties": {"n": {"minimum": 3}}}, {"properties": {"n": {"type": "integer", "maximum": 4}}}],
        "required": ["n"],
    },
    "bounds in two parts": {"properties": {"n": NUMBER | {"minimum": 1, "allOf": [{"minimum": 8}]}}, "required": ["n"]},
    "required and not described": {"type": "object", "required": ["x", "y"]},
    "a map": {"type": "object", "additionalProperties": NUMBER, "minProperties": 2},
    "a pair": {
        "properties": {"p": {"type": "array", "prefixItems": [NUMBER, TEXT], "items": False}}, "required": ["p"],
    },
    "different ones": {
        "properties": {"l": {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3}},
        "required": ["l"],
    },
    "one that is contained": {
        "properties": {"l": {"type": "array", "items": NUMBER, "contains": {"minimum": 90}}}, "required": ["l"],
    },
    "if, then": {
        "properties": {"mode": {"enum": ["x", "y"]}},
        "required": ["mode"],
        "if": {"properties": {"mode": {"const": "x"}}},
        "then": {"properties": {"depth": NUMBER}, "required": ["depth"]},
        "else": {"properties": {"width": NUMBER}, "required": ["width"]},
    },
    "dependent": A_B | {"dependentRequired": {"a": ["b"]}, "minProperties": 1},
    "not": {"properties": {"it": {"enum": ["p", "q"], "not": {"const": "p"}}}, "required": ["it"]},
    "a tree": TREE,
    "a code": {"properties": {"it": TEXT | {"pattern": "^[0-9]{4}$"}}, "required": ["it"]},
    "a reference into a list": {
        "oneOf": [A_B | NEED_A, {"properties": {"c": {"$ref": "#/oneOf/0/properties/b"}}, "required": ["c"]}],
    },
    "a slash": {"$defs": {"a/b": NUMBER}, "properties": {"it": {"$ref": "#/$defs/a~1b"}}, "required": ["it"]},
}  # fmt: skip


@pytest.mark.parametrize("schema", FIT.values(), ids=FIT)
def test_calls_follow_every_kind_of_schema(schema):
    jsonschema = pytest.importorskip("jsonschema")
    tool = Tool("t", "", schema)
    drawn = draws(tool, 40)
    for arguments in drawn:
        jsonschema.validate(arguments, schema)
    assert drawn.count({}) < 40 or schema == {}
    assert document(tool, "full").startswith("t(")
    assert choose_fit([tool], drawer(), None) == ([tool], "")


def test_a_pattern_of_another_dialect_is_not_heeded():
    assert draws(one({"pattern": "("}), 5)


def test_all_branches_are_drawn():
    assert {tuple(arguments) for arguments in draws(Tool("t", "", FIT["exactly one of two"]))} == {("a",), ("b",)}
    assert {tuple(arguments) for arguments in draws(Tool("t", "", FIT["if, then"]))} >= {("mode", "depth")}


def test_what_was_given_and_what_was_seen_must_fit():
    tool = Tool("t", "", {"properties": {"name": TEXT | {"maxLength": 3}}, "required": ["name"]})
    made = drawer(values={"name": ["too long", "fit"]})
    made.remember({"name": "too long too"})
    assert {made.arguments(tool)["name"] for _ in range(40)} == {"fit"}


def nest(inner, times):
    for _ in range(times):
        inner = {"type": "array", "items": inner, "minItems": 900}
    return inner


def field(schema):
    return {"properties": {"it": schema}, "required": ["it"]}


def doubled(depth):
    """Each part holds the next one twice."""
    parts = {f"p{n}": {"allOf": [{"$ref": f"#/$defs/p{n + 1}"}] * 2} for n in range(depth)}
    wide = {f"w{n}": {"anyOf": [{"not": {"$ref": f"#/$defs/w{n + 1}"}}, {"$ref": f"#/$defs/w{n + 1}"}]} for n in
            range(depth)}  # fmt: skip
    ends = {f"p{depth}": TEXT, f"w{depth}": TEXT}
    return {"$defs": parts | wide | ends} | field({"allOf": [{"$ref": "#/$defs/p0"}, {"$ref": "#/$defs/w0"}]})


UNFIT = {
    "a reference to nothing": field({"$ref": "#/nowhere"}),
    "a reference to another place": field({"$ref": "http://127.0.0.1:9/schema.json"}),
    "itself within itself": field({"$ref": "#"}),
    "a field that is itself": field({"allOf": [{"$ref": "#/properties/it"}]}),
    "no number": field(NUMBER | {"minimum": 5, "maximum": 5, "multipleOf": 2}),
    "infinite": field(NUMBER | {"minimum": 1e999}),
    "many items": field({"type": "array", "minItems": 10**12}),
    "many items in many": field(nest(TEXT, 5)),
    "a long text": field(TEXT | {"minLength": 10**12}),
    "a slow pattern": field(TEXT | {"pattern": "^(([a-z ]|[a-z ]{2})+)$(?<![a-z ])", "minLength": 60}),
    "a large pattern": field(TEXT | {"pattern": "((a{500}){500}){500}"}),
    "a pattern with a number of 5,000 digits": field(TEXT | {"pattern": "^[A-Z]{" + "9" * 5000 + "}$", "maxLength": 3}),
    "many fields of many": {
        "properties": {f"f{n}": {"$ref": "#"} for n in range(10)},
        "required": [f"f{n}" for n in range(10)],
    },
    "parts of parts": doubled(40),
    "required is no list": field(TEXT) | {"required": True},
    "properties of nothing": {"properties": {"a": 7}, "required": ["a"]},
    "a type that is none": field({"type": "file"}),
    "bounds that are no numbers": field(NUMBER | {"minimum": "low"}),
    "nothing": field(False),
}


@pytest.mark.parametrize("schema", UNFIT.values(), ids=UNFIT)
def test_a_tool_that_cannot_be_called_is_left_out_by_name(schema, in_a_minute):
    bad, good = Tool("bad", "", schema), one({})
    tools, message = choose_fit([bad, good], drawer(), None)
    assert tools == [good]
    assert message.startswith("tools left out: bad: ")
    assert "\n" not in message
    assert len(message) < 600
    with pytest.raises(InputError, match="found no tool whose schema can be worked with among 1; tools left out: bad"):
        choose_fit([bad], drawer(), None)


def test_a_script_needs_documentation_alone():
    silent, broken = Tool("silent", "", field(False)), Tool("broken", "", field(TEXT) | {"required": 7})
    assert choose_fit([silent], None, [Call("silent", {})]) == ([silent], "")
    assert choose_fit([silent, broken], None, [Call("silent", {})])[0] == [silent]
    with pytest.raises(InputError, match="--calls: found calls of 'broken', which cannot be documented"):
        choose_fit([silent, broken], None, [Call("broken", {})])


def test_a_flood_of_values_is_borne(in_a_minute):
    made = drawer()
    made.remember({"id": list(range(1_000_000))})
    assert made.arguments(Tool("t", "", field(NUMBER)))


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
