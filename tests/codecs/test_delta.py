import random
import time
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from swirl_lightning.codecs.delta import changed_lines, decode_delta, encode_delta

reproducible = settings(derandomize=True, deadline=None)

# Lines from few values repeat and move, which is where an edit can go wrong; "- a", "@ 0" look like edits themselves.
line = st.sampled_from(["", "a", "b", "c", "- a", "+ b", "= a", "~ a", "@ 0", "@ end", " ", "a\r", "\u2028", "\x0b"])
texts = st.one_of(st.text(), st.lists(line, max_size=12).map("\n".join))
facts = st.sets(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1), max_size=12)


@reproducible
@given(texts, texts)
@example("", "\n")
@example("\n", "")
@example("", "\na")
@example("a", "a\n")
@example("b\na", "")
@example("", "b\na")
@example("a\r\nb", "a\nb")
def test_every_pair_comes_back(x, y):
    assert decode_delta(x, encode_delta(x, y)) == y


@reproducible
@given(texts)
def test_no_change_is_the_empty_edit(x):
    assert encode_delta(x, x) == ""
    assert decode_delta(x, "") == x


@reproducible
@given(facts, facts)
def test_facts_are_edited_as_sets(x, y):
    edit = encode_delta("\n".join(sorted(x)), "\n".join(sorted(y)))
    assert edit == "\n".join([f"- {fact}" for fact in sorted(x - y)] + [f"+ {fact}" for fact in sorted(y - x)])
    assert decode_delta("\n".join(sorted(x)), edit) == "\n".join(sorted(y))


def test_fact_form_as_written():
    x = "coin on floor\nkeycard in safe\nsafe open"
    y = "coin on floor\nkeycard carried\nsafe open"
    assert encode_delta(x, y) == "- keycard in safe\n+ keycard carried"
    assert decode_delta(x, "+ keycard carried\n- keycard in safe") == y


@pytest.mark.parametrize(
    "edit",
    [
        "- d",  # not there
        "+ b",  # there already
        "- b\n- b",
        "+ d\n+ d",
        "- b\n+ b",
        "- ",
        "+ ",
        "-b",
        "b",
        "\n",
        "- b\n",
        "~ b",
        "- b\n@ 0\n+ d",  # two forms in one
        "- b\n= c",
    ],
)
def test_malformed_fact_edits_are_none(edit):
    assert decode_delta("a\nb\nc", edit) is None


@pytest.mark.parametrize("x", ["b\na", "a\na", "\na", "a\n"])
def test_fact_edits_need_facts(x):
    assert decode_delta(x, "+ c") == "c\n" + x, "read from the top downwards"
    assert decode_delta(x, "- c") is None
    assert decode_delta(x, "@ end\n+ c") == x + "\nc"


@reproducible
@given(texts, st.one_of(texts, st.text("@=~-+ 01a\n")))
def test_rubbish_never_raises(x, edit):
    y = decode_delta(x, edit)
    assert y is None or isinstance(y, str)


@reproducible
@given(texts, texts, st.data())
def test_mutated_edits_never_raise(x, y, data):
    edit = encode_delta(x, y)
    start = data.draw(st.integers(0, len(edit)))
    stop = data.draw(st.integers(start, len(edit)))
    mutated = edit[:start] + data.draw(st.text("@=~-+ 019ab\n", max_size=3)) + edit[stop:]
    result = decode_delta(x, mutated)
    assert result is None or decode_delta(x, encode_delta(x, result)) == result


@reproducible
@given(texts, texts)
def test_changed_lines_are_the_difference_of_multisets(x, y):
    removed, added = changed_lines(x, y)
    before, after = (Counter(text.split("\n") if text else []) for text in (x, y))
    assert not removed & added
    assert before - removed + added == after
    assert before & removed == removed


def test_changed_lines_count_repetitions():
    assert changed_lines("a\na\nb", "a\nb\nc\nc") == (Counter(a=1), Counter(c=2))


def long_texts():
    rng = random.Random(0)
    unique = [f"line {i}" for i in range(10_000)]
    shuffled = rng.sample(unique, len(unique))
    yield "facts", sorted(unique), sorted(unique[::2] + [f"new {i}" for i in range(5_000)])
    yield "reversed", unique, unique[::-1]
    yield "shuffled", unique, shuffled
    yield "every other line changed", unique, [text if i % 2 else f"{text}!" for i, text in enumerate(unique)]
    yield "one value", ["a"] * 10_000, ["a"] * 5_000
    for values in (2, 100, 5_000):
        draws = [[str(rng.randrange(values)) for _ in unique] for _ in range(2)]
        yield f"{values} values", *draws
    # Between anchors, lines that come twice and match one at a time: difflib peels them off in quadratic time.
    for size in (400, 1_400):
        texts = [
            [
                f"{part}: {i} {'x' if i % 2 else side}"
                for part in range(10_000 // size)
                for i in [-1, *range(size // 2), *range(size // 2)]
            ]
            for side in ("x", "y")
        ]
        yield f"twice, {size} lines between anchors", *texts


@pytest.mark.parametrize(("x_lines", "y_lines"), [pytest.param(x, y, id=name) for name, x, y in long_texts()])
def test_long_texts_take_bounded_time(x_lines, y_lines, million_steps):
    x, y = "\n".join(x_lines), "\n".join(y_lines)
    start = time.process_time()
    edit = encode_delta(x, y)
    assert decode_delta(x, edit) == y
    # at most 30 measured; difflib alone takes 400 where every other line changed
    assert time.process_time() - start < 100 * million_steps
    assert edit.count("\n") < len(x_lines) + len(y_lines) + 10_000
