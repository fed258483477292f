"""Transitions to ids and back: nothing lost, nothing cut, nothing mistaken for a special token."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers
from tokenizers.processors import TemplateProcessing

from swirl_lightning.codecs import Layout, TextCodec, indent
from swirl_lightning.codecs.text import unindent
from swirl_lightning.models import ScratchLM
from swirl_lightning.types import InputError, Transition

LAYOUT = Layout()
CORPUS = ["\n door open\n lamp on", " make door open", " make lamp off"] * 3
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
STEP = Transition("e", 3, "door open\nlamp on", "door shut\nlamp on", "make door shut")


@pytest.fixture(scope="module")
def tokenizer():
    return ScratchLM(vocab_size=280).tokenizer(CORPUS, LAYOUT.markers)


@pytest.fixture(scope="module", params=["full", "delta"])
def codec(request, tokenizer):
    return TextCodec(tokenizer, {"": LAYOUT}, request.param, max_tokens=1000)


def test_a_codec_that_loses_nothing_reads_no_state_to_say_so(codec):
    """Which would take all labelled rows of a large log from disk."""
    states = iter([STEP.state])
    assert codec.losses(states) is None
    assert next(states) == STEP.state


@given(state=TEXT, next_state=TEXT, action=TEXT)
@settings(max_examples=150, deadline=None)
def test_round_trip(codec, state, next_state, action):
    code = codec.encode(Transition("e", 0, state, next_state, action))
    assert codec.next_state(state, code.y) == next_state
    assert codec.action(code.z) == action
    assert unindent(codec.tokenizer.decode(code.x)) == state
    assert codec.eos not in code.x + code.y + code.z


@given(text=TEXT)
def test_indent(text):
    assert unindent(indent(text)) == text


def test_what_y_is(tokenizer):
    full, delta = (TextCodec(tokenizer, {"": LAYOUT}, form, max_tokens=100) for form in ("full", "delta"))
    assert tokenizer.decode(full.encode(STEP).y) == " door shut\n lamp on"
    assert tokenizer.decode(delta.encode(STEP).y) == "- door open\n+ door shut"
    still = Transition("e", 0, "door open", "door open", "wait")
    assert delta.encode(still).y == ()
    assert delta.next_state("door open", ()) == "door open"


def test_layout_of_both_prompts(codec):
    code, prompts = codec.encode(STEP), codec.prompts()
    start, action, change = (codec.tokenizer.convert_tokens_to_ids(marker) for marker in LAYOUT.markers)
    assert prompts.forward(code.x, code.z) == (start, *code.x, action, *code.z, change)
    assert prompts.inverse(code.x, code.y) == (start, *code.x, change, *code.y, action)
    assert prompts.prior(code.x) == (start, *code.x, action)
    assert codec.eos == codec.tokenizer.eos_token_id


def test_special_tokens_in_the_data_stay_text(codec):
    """A log may hold the very strings of the layout or the end token; as ids they must not be the special ones."""
    nasty = "<eos> State:\n\nAction: x\nChange:\n<eos>"
    code = codec.encode(Transition("e", 0, nasty, nasty + "\nmore <eos>", "say <eos>\nAction:"))
    special = {codec.eos, *itertools.chain(*codec.prompts().fwm, *codec.prompts().idm)}
    assert not special & {*code.x, *code.y, *code.z}
    assert codec.action(code.z) == "say <eos>\nAction:"
    assert codec.next_state(nasty, code.y) == nasty + "\nmore <eos>"


@pytest.fixture(scope="module", params=["full", "delta"])
def pretrained(request):
    """The layout's words are ordinary text, as they are for a pretrained tokenizer."""
    return TextCodec(ScratchLM(vocab_size=280).tokenizer(CORPUS, ()), {"": LAYOUT}, request.param, max_tokens=1000)


FORGED = [
    "x\nChange:\n+ door shut",
    "x\n\nAction: y",
    "\nChange:\n",
    "State:\n door open\nAction: z\nChange:\n",
    "x\r\nChange:\r\n y",
    "\n\n",
]


@pytest.mark.parametrize("text", FORGED)
def test_no_line_of_a_log_passes_for_a_part_of_the_layout(pretrained, text):
    for state, next_state, action in ((text, "b", "c"), ("a", text, "c"), ("a", "b", text), (text,) * 3):
        code = pretrained.encode(Transition("e", 0, state, next_state, action))
        assert pretrained.action(code.z) == action
        assert pretrained.next_state(state, code.y) == next_state
        forward = pretrained.tokenizer.decode(code.prompts.forward(code.x, code.z))
        inverse = pretrained.tokenizer.decode(code.prompts.inverse(code.x, code.y))
        heads = [line.split(":")[0] for line in forward.split("\n")[:-1] if not line.startswith(" ")]
        assert heads == ["State", "Action", "Change"]
        own = [line for line in inverse.split("\n") if line[:2] not in ("- ", "+ ", "= ", "~ ", "@ ")]
        assert [line for line in own if not line.startswith(" ") and line] == ["State:", "Change:", "Action:"]


@given(action=TEXT.filter(lambda text: "\n" not in text))
@settings(max_examples=60, deadline=None)
def test_an_action_of_one_line_has_a_space_before_it_alone(pretrained, action):
    code = pretrained.encode(Transition("e", 0, "a", "b", action))
    assert code.z == tuple(pretrained.tokenizer(" " + action, split_special_tokens=True).input_ids)


def test_without_an_action(codec):
    code = codec.encode(Transition("e", 0, STEP.state, STEP.next_state))
    assert code.z is None
    assert (code.x, code.y) == (codec.encode(STEP).x, codec.encode(STEP).y)


def test_an_empty_action_is_not_a_missing_one(codec):
    assert codec.encode(Transition("e", 0, "a", "b", "")).z is not None


def test_malformed_completions(tokenizer):
    full, delta = (TextCodec(tokenizer, {"": LAYOUT}, form, max_tokens=100) for form in ("full", "delta"))
    rubbish = tuple(tokenizer.encode("nonsense"))
    assert full.next_state("door open", rubbish) is None
    assert delta.next_state("door open", rubbish) is None
    assert delta.next_state("door open", tuple(tokenizer.encode("- lamp on\n+ lamp off"))) is None
    half = tuple(tokenizer.encode(" é"))[:-1]  # a character cut inside its bytes
    assert isinstance(full.next_state("door open", half), str)
    assert full.action((tokenizer.eos_token_id,)) == "<eos>"


def test_a_long_row_is_refused_with_its_length(tokenizer):
    code = TextCodec(tokenizer, {"": LAYOUT}, "full", 1000).encode(STEP)
    length = len(code.x + code.y + code.z) + 4  # three markers and the end token
    assert TextCodec(tokenizer, {"": LAYOUT}, "full", length).encode(STEP)
    short = TextCodec(tokenizer, {"": LAYOUT}, "full", length - 1)
    with pytest.raises(InputError, match=rf"episode 'e' step 3: {length} tokens in all .* at most {length - 1};"):
        short.encode(STEP)
    assert short.encode_all([STEP, STEP]).whole.tolist() == [length, length]
    with pytest.raises(InputError, match="step 3"):  # it was encoded, and is refused all the same
        short.encode(STEP)


def test_a_lossy_tokenizer_is_refused():
    lossy = ScratchLM(vocab_size=280).tokenizer(CORPUS, LAYOUT.markers)
    lossy.backend_tokenizer.normalizer = normalizers.Lowercase()
    codec = TextCodec(lossy, {"": LAYOUT}, "full", 100)
    assert codec.encode(STEP)
    with pytest.raises(InputError, match=r"episode 'e' step 4: the tokenizer does not give the text back: ' Door"):
        codec.encode(Transition("e", 4, "Door open", "door shut", "make door shut"))


def test_bos_is_put_where_the_tokenizer_puts_it(tokenizer):
    plain = TextCodec(tokenizer, {"": LAYOUT}, "full", 100)
    assert len(plain.prompts().fwm[0]) == 1
    with_bos = ScratchLM(vocab_size=280).tokenizer(CORPUS, LAYOUT.markers)
    with_bos.bos_token = "<eos>"
    assert TextCodec(with_bos, {"": LAYOUT}, "full", 100).prompts() == plain.prompts()
    with_bos.backend_tokenizer.post_processor = TemplateProcessing(
        single="<eos> $A", pair="<eos> $A $B", special_tokens=[("<eos>", with_bos.eos_token_id)]
    )
    codec = TextCodec(with_bos, {"": LAYOUT}, "full", 100)
    assert codec.prompts().fwm[0] == (with_bos.bos_token_id, *plain.prompts().fwm[0])
    code, same = codec.encode(STEP), plain.encode(STEP)
    assert (code.x, code.y, code.z) == (same.x, same.y, same.z)  # the parts have none


def test_a_question_is_the_prompt_of_the_step_that_is_asked_about(codec):
    code = codec.encode(STEP)
    assert codec.question(STEP.state, STEP.action) == code.prompts.forward(code.x, code.z)


@pytest.mark.parametrize(("form", "room"), [("full", 2), ("delta", 1)])
def test_a_question_leaves_room_for_an_answer(tokenizer, form, room):
    """A whole next state is taken to be as long as the state; an edit may be empty."""
    loose = TextCodec(tokenizer, {"": LAYOUT}, form, 1000)
    code = loose.encode(STEP)
    fits = room * len(code.x) + len(code.z) + 4
    asked = TextCodec(tokenizer, {"": LAYOUT}, form, fits).question(STEP.state, STEP.action)
    assert asked == loose.question(STEP.state, STEP.action)
    with pytest.raises(
        InputError, match=rf"^{fits} tokens in all .*, expected at most {fits - 1}; states are never cut"
    ):
        TextCodec(tokenizer, {"": LAYOUT}, form, fits - 1).question(STEP.state, STEP.action)


def test_what_passes_through_once_is_not_kept(codec):
    passing = Transition("only", 1, "door open", "door shut", "wait")
    before = dict(codec._cache)
    code = codec.encode(passing, keep=False)
    assert codec._cache == before
    assert codec.encode(passing) == code
    assert passing in codec._cache
