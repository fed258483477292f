"""The ids of large data on disk are those that are computed, for the very transition that is asked for."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swirl_lightning.codecs import Layout, TextCodec, base, cache
from swirl_lightning.models import ScratchLM
from swirl_lightning.types import InputError, Transition

LAYOUTS = {"": Layout(), "web": Layout(start="Page:\n")}
CORPUS = ["\n door open\n lamp on", " make door open", " make lamp off"] * 3
TEXT = st.text("ab \n", max_size=6)
TRANSITION = st.builds(
    Transition, st.sampled_from("ef"), st.integers(0, 3), TEXT, TEXT, st.none() | TEXT, st.sampled_from(["", "web"])
)


@pytest.fixture(scope="module")
def tokenizer():
    markers = dict.fromkeys(marker for layout in LAYOUTS.values() for marker in layout.markers)
    return ScratchLM(vocab_size=280).tokenizer(CORPUS, tuple(markers))


@pytest.fixture
def make(tokenizer, tmp_path, monkeypatch):
    """Makes a codec, and counts the transitions that any of them encodes."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "BLOCK", 40)
    monkeypatch.setattr(TextCodec, "encoded", 0, raising=False)
    encode = TextCodec._encode

    def counted(codec, transitions):
        TextCodec.encoded += len(transitions)
        return encode(codec, transitions)

    monkeypatch.setattr(TextCodec, "_encode", counted)

    def codec(tokenizer=tokenizer, layouts=LAYOUTS, form="delta", max_tokens=100):
        return TextCodec(tokenizer, layouts, form, max_tokens)

    return codec


def steps(length=10):
    return [Transition("e", i, f"door {i}", f"door {i + 1}", f"open {i}" if i % 2 else None) for i in range(length)]


@pytest.mark.parametrize("reads", ["written", "full", "delta"])
@pytest.mark.parametrize("form", ["full", "delta"])
@pytest.mark.parametrize("same_head", [False, True])
@given(transitions=st.lists(TRANSITION, min_size=1, max_size=8), other=TRANSITION)
@settings(max_examples=40, deadline=None)
def test_kept_ids_are_the_computed_ones(tokenizer, form, reads, same_head, transitions, other):
    key = Transition.key
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "kept_table", lambda name, schema, batches: base.pa.Table.from_batches(batches(), schema))
        if same_head:
            patch.setattr(Transition, "key", property(lambda t: b"the same" + key.fget(t)[8:]))
        plain, kept = (TextCodec(tokenizer, LAYOUTS, form, 100, reads) for _ in range(2))
        for its, same in zip(kept.keep_all(transitions, []), plain.encode_all(transitions), strict=True):
            assert its.tolist() == same.tolist()
        for t in transitions:
            assert kept.encode(t) == plain.encode(t)
            assert kept.encode(replace(t, action=None)) == plain.encode(replace(t, action=None))
        assert not kept._cache
        for t in (other, replace(transitions[0], action="b b"), replace(transitions[0], state="b\na")):
            assert kept.encode(t) == plain.encode(t)


def test_nothing_is_encoded_at_a_second_start(make):
    for _ in range(3):
        codec = make()
        codec.keep_all(steps(), ["ten steps"])
        assert [codec.encode(t).z is None for t in steps()] == [True, False] * 5
    assert TextCodec.encoded == 10


def test_what_decides_the_ids_decides_the_file(make):
    other = ScratchLM(vocab_size=290).tokenizer(["door open 1 2 3 4"] * 9, ("\nAction:",))
    for changed in ({"tokenizer": other}, {"layouts": {"": Layout(start="x")}}, {"form": "full"}):
        make().keep_all(steps(), ["ten steps"])
        before = TextCodec.encoded
        make(**changed).keep_all(steps(), ["ten steps"])
        assert TextCodec.encoded == before + 10
    make().keep_all(steps(11), ["eleven steps"])
    assert TextCodec.encoded == before + 21


def test_a_row_too_long_is_named_at_every_start_and_the_others_need_no_new_encoding(make):
    rows = [*steps(), Transition("far", 7, "x " * 60, "x"), *steps(3)]
    for _ in range(2):
        codec = make()
        assert (codec.keep_all(rows, ["with a long one"]).whole > 100).tolist() == [
            row.episode == "far" for row in rows
        ]
        with pytest.raises(InputError, match=r"episode 'far' step 7: \d+ tokens in all .*, expected at most 100;"):
            codec.encode(rows[10])
    encoded = TextCodec.encoded
    make(max_tokens=1000).keep_all(rows, ["with a long one"])
    assert TextCodec.encoded == encoded
