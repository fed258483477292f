"""The line form of an edit: it walks down x and says where by the lines that stand there."""

import itertools
import json
import random
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from swirl_lightning.codecs.delta import decode_delta, encode_delta

reproducible = settings(derandomize=True, deadline=None)
SHARED = Path(__file__).parents[3] / "shared" / "data"

PAGE = """\
<form>
 <input id="a">
 <button>
  Search
<div>
 Results
 <p>
  none
<footer>"""
ROOM = """\
The door is open.
This room is called the hallway.
 a picture
 a chair
 a lamp
 a table
In your inventory, you see:
 an orange"""
RESULT = json.dumps({"name": "lamp", "on": False, "parts": {"bulb": {"on": False}, "wire": {"on": False}}}, indent=1)


def test_a_page_is_edited_by_node():
    y = PAGE.replace("  none", "  3 hits\n  <b>").replace(' id="a"', ' id="a" value="x"')
    edit = '-  <input id="a">\n+  <input id="a" value="x">\n-   none\n+   3 hits\n+   <b>'
    assert encode_delta(PAGE, y) == edit
    assert decode_delta(PAGE, edit) == y


def test_what_comes_is_placed_by_the_line_above():
    edit = "=  Results\n+  <b>"
    assert encode_delta(PAGE, PAGE.replace(" Results", " Results\n <b>")) == edit


def test_json_is_edited_by_key():
    y = json.loads(RESULT)
    y["parts"]["wire"]["on"] = True
    edit = encode_delta(RESULT, json.dumps(y, indent=1))
    assert edit == '=   "wire": {\n-    "on": false\n+    "on": true'
    assert json.loads(decode_delta(RESULT, edit)) == y


def test_a_result_is_appended_at_the_end():
    assert encode_delta(ROOM, ROOM + "\n{\n}") == "@ end\n+ {\n+ }"


def test_a_room_that_is_left_goes_by_its_first_and_last_line():
    y = "You move.\nThis room is called the attic.\n a box\nIn your inventory, you see:\n an orange"
    edit = "- The door is open.\n~  a table\n+ You move.\n+ This room is called the attic.\n+  a box"
    assert encode_delta(ROOM, y) == edit
    assert decode_delta(ROOM, edit) == y


def test_long_removals_are_told_by_few_lines():
    items = [line for i in range(3) for line in ("<li>", f" {i}", f" more {i}", "</li>")]
    x = "\n".join(["<ul>", *items, "</ul>", "<p>"])
    assert encode_delta(x, "<ul>\n</ul>\n<p>") == "- <li>\n~  more 2\n- </li>", "where </li> stood before, it is no end"
    assert encode_delta(x, x.replace("<li>\n 1\n more 1\n</li>\n", "")) == "-  1\n~ <li>"
    assert encode_delta("z\na\nb\nc\nd", "z\nd") == "- a\n- b\n- c", "a span of two lines is written out"
    assert encode_delta("z\na\nb\nc\nd\ne", "z\ne") == "- a\n~ d"


def test_a_removal_takes_up_to_three_spans():
    block = ["<li>", " a", " b", " c", "</li>"]
    lists = [block, [*block, *block], [*block, *block, "</ul>"]]
    assert encode_delta("z\n" + "\n".join(lists[0]), "z") == "- <li>\n~ </li>"
    assert encode_delta("z\n" + "\n".join(lists[2]), "z") == "- <li>\n~ </ul>", "the furthest that can be named"
    assert encode_delta("z\n" + "\n".join(lists[1]), "z") == "- <li>\n~ <li>\n~ </li>"
    five = encode_delta("z\n" + "\n".join(5 * block), "z").split("\n")
    written_out = [f"- {line}" for line in [*block[1:], *block]]
    assert five == ["- <li>", *3 * ["~ <li>"], *written_out]


def test_of_lines_that_lead_the_way_the_nearest_is_taken():
    x = "z\nfar\nb\nnear\nb"
    assert encode_delta(x, x.removesuffix("b") + "new") == "= near\n- b\n+ new"
    x = "z\nq\nw\nnear\nb\nfar\nnear\nb"
    y = x.replace("q", "Q").removesuffix("b") + "new"
    assert encode_delta(x, y) == "- q\n+ Q\n= far\n- b\n+ new"
    x = "z\nnear\nq\nb\nfar\nnear\nb"
    assert encode_delta(x, x.replace("q", "Q").removesuffix("b") + "new") == "- q\n+ Q\n= near\n- b\n+ new"


def test_removals_in_a_row_keep_their_places():
    x = "z\nb\nc\nd\ne"
    assert encode_delta(x, "z\nc\ne") == "- b\n- d"
    assert decode_delta(x, "- b\n- c\n- d\n- e") == "z"


def test_repeated_lines_cost_no_more_than_they_must():
    x = "\n".join(["#####", "#@..#", "#...#", "#...#", "#..o#", "#####"])
    y = "\n".join(["#####", "#.@.#", "#...#", "#...#", "#.o.#", "#####"])
    assert encode_delta(x, y) == "- #@..#\n+ #.@.#\n- #..o#\n+ #.o.#"


@pytest.mark.parametrize(
    ("edit", "y"),
    [
        ("= b\n+ d", "c\nb\nd\na\nb"),
        ("= b\n= b\n+ d", "c\nb\na\nb\nd"),
        ("= b\n- b", "c\nb\na"),
        ("= a\n- b", "c\nb\na"),
        ("- b\n- b", "c\na"),
        ("~ b", "a\nb"),
        ("- c\n~ a", "b"),
        ("= b\n~ b", "c\nb"),
        ("+ d", "d\nc\nb\na\nb"),
        ("@ 2\n- b", "c\nb\na"),
        ("@ 4\n+ d", "c\nb\na\nb\nd"),
        ("@ end\n+ d\n+ e", "c\nb\na\nb\nd\ne"),
        ("@ 1\n+ d\n@ 1\n+ e", "c\nd\ne\nb\na\nb"),
        ("= a", "c\nb\na\nb"),
    ],
)
def test_edits_a_model_may_write(edit, y):
    assert decode_delta("c\nb\na\nb", edit) == y


@pytest.mark.parametrize(
    "edit",
    [
        "- d",  # not there
        "= d\n+ e",
        "~ d",
        "= ",
        "- a\n- c",  # c stands above a
        "= a\n~ c",
        "= b\n= b\n= b",
        "@ end\n- b",
        "@ end\n= b",
        "@ 5\n+ d",  # beyond the end
        "@ 2\n+ d\n@ 1\n+ e",  # upwards
        "@ end\n@ 3\n+ e",
        "@ -1\n+ d",
        "@ 01\n+ d",
        "@ ٣\n+ d",
        "@  0\n+ d",
        "@ \n+ d",
        "@ End\n+ d",
        "@0\n+ d",
        "@ 0 \n+ d",
        "@ " + 5000 * "9" + "\n+ d",
        "=b\n+ d",
        "= b\nd",
        "= b\n\n+ d",
        "= b\n+ d\n",
        "= b\n+",
    ],
)
def test_malformed_edits_are_none(edit):
    assert decode_delta("c\nb\na\nb", edit) is None


@pytest.mark.parametrize(
    ("x", "y"), [("a", "b\na"), ("", "b\na"), ("a\nb", "b\nb"), ("a\nb\nc", "a\nc\nb"), ("a", "a\n")]
)
def test_facts_that_stop_being_facts_are_edited_by_line(x, y):
    edit = encode_delta(x, y)
    assert edit[0] in "@=", "or it would be read as facts"
    assert decode_delta(x, edit) == y


few = st.lists(st.sampled_from(["b", "a", "c"]), min_size=1, max_size=9)


@reproducible
@given(few, st.data(), st.booleans())
@example(["b", "a", "a", "b", "a", "b", "a"], None, False)
def test_the_way_is_as_short_as_can_be(x_lines, data, insert):
    """Against all ways of up to three kept lines. The line above all makes x no list of facts."""
    x_lines = ["z", *x_lines]
    i = data.draw(st.integers(1, len(x_lines) - 1)) if data else len(x_lines) - 1
    y = "\n".join([*x_lines[:i], "new", *x_lines[i + (not insert) :]])
    change = ["+ new"] if insert else [f"- {x_lines[i]}", "+ new"]
    ways = (
        [f"= {x_lines[place]}" for place in places] for n in range(4) for places in itertools.combinations(range(i), n)
    )
    x = "\n".join(x_lines)
    shortest = next((way for way in ways if decode_delta(x, "\n".join(way + change)) == y), [f"@ {i}"])
    edit = encode_delta(x, y).split("\n")
    assert edit[-len(change) :] == change
    assert [line[:2] for line in edit] == [line[:2] for line in shortest + change]


@reproducible
@given(few, few)
def test_pages_of_few_distinct_lines_come_back(x_lines, y_lines):
    x, y = "\n".join(3 * x_lines), "\n".join(2 * y_lines + x_lines)
    assert decode_delta(x, encode_delta(x, y)) == y


def test_a_change_among_equal_lines_stays_small():
    x_lines = ["a"] * 10_000
    y_lines = [*x_lines[:5_000], "b", *x_lines[5_001:]]
    assert encode_delta("\n".join(x_lines), "\n".join(y_lines)) == "@ 5000\n- a\n+ b"
    x_lines = ["b", "a"] * 100  # difflib's "junk" begins at 200 lines
    y_lines = ["c", *x_lines[1:-1], "d"]
    assert encode_delta("\n".join(x_lines), "\n".join(y_lines)) == "- b\n+ c\n@ 199\n- a\n+ d"


def test_far_apart_changes_in_a_long_text_stay_two_small_ones():
    x_lines = [f"line {i}" for i in range(10_000)]
    y_lines = ["first", *x_lines[1:-1], "last"]
    edit = encode_delta("\n".join(x_lines), "\n".join(y_lines))
    assert edit == "- line 0\n+ first\n- line 9999\n+ last"


def repeated():
    rng = random.Random(0)
    blocks = [line for i in range(2_500) for line in ("<li>", f" {i % 50}", " <b>", "</li>")]
    yield "blocks", blocks, [line if rng.random() < 0.9 else "new" for line in blocks]
    yield "blocks removed", blocks, blocks[::9]
    yield "two lines in turn", ["b", "a"] * 5_000, ["a", "b", "b"] * 3_000
    yield "one line, changed here and there", ["b"] * 10_000, ["b" if i % 7 else f"{i}" for i in range(10_000)]
    yield "half removed", ["z", *["b"] * 5_000, "a", *["b"] * 5_000], ["z", *["b"] * 5_000]
    yield "all replaced", blocks, [f"{i}" for i in range(10_000)]
    yield "halves", [f"{i}" for i in [*range(5_000, 0, -1)] * 2], [f"{i}" for i in range(5_000, 0, -1)]


@pytest.mark.parametrize(("x_lines", "y_lines"), [pytest.param(x, y, id=name) for name, x, y in repeated()])
def test_repeated_lines_take_bounded_time(x_lines, y_lines, million_steps):
    x, y = "\n".join(x_lines), "\n".join(y_lines)
    start = time.process_time()
    assert decode_delta(x, encode_delta(x, y)) == y
    assert time.process_time() - start < 100 * million_steps


@pytest.mark.parametrize("line", ["= b", "- b", "~ b", "@ 9999", "+ b"])
def test_hostile_edits_take_bounded_time(line, million_steps):
    x = "\n".join(["b"] * 10_000 + ["a"])
    start = time.process_time()
    decode_delta(x, "\n".join([line] * 20_000))
    assert time.process_time() - start < 40 * million_steps


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_real_objects_are_edited_by_key():
    lines = (SHARED / "bytesized32-sp" / "test.jsonl").read_text(encoding="utf-8").splitlines()[::5]
    numbered = []
    for row in map(json.loads, lines):
        x, y = (
            json.dumps({thing["name"]: thing for thing in row[state]["objects"]}, indent=1)
            for state in ("current_state", "tick_state")
        )
        edit = encode_delta(x, y)
        assert decode_delta(x, edit) == y
        assert len(edit) <= len(y) / 2
        numbered.append("@ " in edit)
    assert sum(numbered) < 0.02 * len(numbered)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_real_responses_are_all_of_the_edit():
    rows = json.loads((SHARED / "mirrorapi-bench" / "test_sft" / "id_high.json").read_text(encoding="utf-8"))
    for row in rows:
        x = row["instruction"].partition("\n\nRequest:")[0].replace(", ", ",\n")
        edit = encode_delta(x, x + "\n" + row["output"])
        assert edit == "@ end\n" + "\n".join(f"+ {line}" for line in row["output"].split("\n"))
        assert decode_delta(x, edit) == x + "\n" + row["output"]
