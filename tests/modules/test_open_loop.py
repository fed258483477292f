"""Rollouts on the model's own next states: what it reads, when they end, and that nothing else notices."""

from dataclasses import replace

import pytest
import torch

from swirl_lightning.codecs import TextCodec
from swirl_lightning.modules.grpo_mixin import Answers
from swirl_lightning.modules.open_loop import chains_of, open_loop
from swirl_lightning.types import InputError, Transition

STATES = [
    "door shut\nlamp off",
    "door shut\nlamp on",
    "door open\nlamp on",
    "door open\nlamp off",
    "door shut\nlamp off",
]
ACTIONS = ["make lamp on", "make door open", "make lamp off", "make door shut"]


def walk(episode="e", start=0, steps=4, environment=""):
    """The four actions in turn."""
    rows = [(step, (start + step) % 4) for step in range(steps)]
    return [Transition(episode, step, STATES[i], STATES[i + 1], ACTIONS[i], environment) for step, i in rows]


def said(completions, ended=True):
    """Answers that all have an end, or none."""
    return Answers(list(completions), torch.zeros(len(completions)), [ended] * len(completions))


def prompt(model, t):
    code = model.codec.encode(t)
    return model.fwm.prompt(code, code.z)


@pytest.fixture
def knowing(phase_swirl, monkeypatch):
    """A model whose FWM answers the prompts it is told, and copies the state at any other; and what it was asked."""

    def make(answers, **options):
        model, _ = phase_swirl(**options)
        known, asked = {prompt(model, t): model.codec.encode(t).y for t in answers}, []

        def answer(prompts, seeds, sampling):
            assert seeds is None
            asked.append(list(prompts))
            return said([known.get(p, ()) for p in prompts])

        monkeypatch.setattr(model.fwm, "answer", answer)
        return model, asked

    return make


def test_a_perfect_model_says_the_truth(knowing):
    chains = [walk("a"), walk("b", start=1, steps=2), walk("c", start=2, steps=3)]
    model, asked = knowing(walk("all"))
    assert open_loop(model, chains) == [[t.next_state for t in chain] for chain in chains]
    assert [len(prompts) for prompts in asked] == [3, 3, 2, 1]  # a pass for each step of all chains


def test_from_the_second_step_on_it_reads_what_it_wrote(knowing):
    chain = walk()
    wrong = replace(chain[0], next_state="door ajar\nlamp on")
    after = replace(chain[1], state=wrong.next_state, next_state="door open\nlamp on")
    model, asked = knowing([wrong, after])
    assert open_loop(model, [chain]) == [[wrong.next_state, after.next_state, after.next_state, after.next_state]]
    assert asked[1] == [prompt(model, after)]
    assert asked[3] == [prompt(model, replace(chain[3], state=after.next_state))]


def test_after_a_malformed_answer_nothing_comes(knowing, monkeypatch):
    model, asked = knowing(walk())
    lost = model.codec.tokenizer.encode(" nonsense", add_special_tokens=False)
    answer, calls = model.fwm.answer, []

    def stumble(prompts, seeds, sampling):
        calls.append(prompts)
        ids = answer(prompts, seeds, sampling).ids
        return said([tuple(lost), *ids[1:]] if len(calls) == 2 else ids)

    monkeypatch.setattr(model.fwm, "answer", stumble)
    chains = [walk("a"), walk("b")]
    lost_way, right = open_loop(model, chains)
    assert lost_way == [chains[0][0].next_state, None, None, None]
    assert right == [t.next_state for t in chains[1]]
    assert [len(prompts) for prompts in asked] == [2, 2, 1, 1]


def test_an_answer_without_an_end_is_malformed(knowing, monkeypatch):
    """As in a rollout, whatever the cut-off text would read like."""
    model, _ = knowing(walk())
    answer = model.fwm.answer
    monkeypatch.setattr(model.fwm, "answer", lambda *args, **kwargs: said(answer(*args, **kwargs).ids, ended=False))
    assert open_loop(model, [walk()]) == [[None] * 4]


@pytest.mark.parametrize("form", ["delta", "full"])
def test_a_state_that_outgrows_the_model_ends_the_chain(phase_swirl, monkeypatch, form):
    model, _ = phase_swirl(max_tokens=120, state_form=form)
    monkeypatch.setattr(TextCodec, "next_state", lambda self, state, ids: f"{state} more")
    monkeypatch.setattr(model.fwm, "answer", lambda prompts, *_, **__: said([()] * len(prompts)))
    (states,) = open_loop(model, [[Transition("e", step, "a", "a", "go") for step in range(60)]])
    end = states.index(None)
    assert states == [f"a{' more' * (step + 1)}" for step in range(end)] + [None] * (60 - end)
    model.codec.encode(Transition("e", end - 1, states[end - 2], states[end - 2], "go"))
    with pytest.raises(InputError, match=r"expected at most 120"):
        model.codec.encode(Transition("e", end, states[end - 1], states[end - 1], "go"))


def test_chains_do_not_mix(phase_swirl, monkeypatch):
    """Together they say what each says alone, with the real model, whose answers are taken for ended."""
    model, _ = phase_swirl(scale=6.0)
    answer = model.fwm.answer
    monkeypatch.setattr(model.fwm, "answer", lambda *args, **kwargs: said(answer(*args, **kwargs).ids))
    monkeypatch.setattr(TextCodec, "next_state", lambda self, state, ids: f"s {len(state)} {sum(ids)}")
    chains = [walk("a"), walk("b", start=1, steps=2), walk("c", start=2, steps=3)]
    together = open_loop(model, chains)
    assert together == [open_loop(model, [chain])[0] for chain in chains]
    assert [len(states) for states in together] == [4, 2, 3]
    assert len({text for states in together for text in states}) > 5


def test_nothing_is_left_behind(phase_swirl):
    model, _ = phase_swirl("sft")
    torch.manual_seed(5)
    drawn, known = torch.rand(1), dict(model.codec._cache)
    torch.manual_seed(5)
    open_loop(model, [walk()])
    assert torch.equal(drawn, torch.rand(1))
    assert model.fwm.policy.gradient_tokens == 0
    assert model.codec._cache == known
    assert all(p.grad is None for p in model.fwm.policy.parameters())


def test_the_layout_is_the_environments(knowing):
    model, asked = knowing([])
    layouts = {"": model.layouts[""], "web": replace(model.layouts[""], start="Page:\n")}
    model.codec = TextCodec(model.codec.tokenizer, layouts, model.codec.state_form, model.codec.max_tokens)
    open_loop(model, [walk(environment="web")[:1]])
    start = tuple(model.codec.tokenizer.encode("Page:\n", add_special_tokens=False))
    assert asked[0][0][: len(start)] == start


def test_an_action_is_needed(knowing):
    model, _ = knowing([])
    with pytest.raises(InputError, match=r"episode 'e' step 1: a rollout needs the action, found none"):
        open_loop(model, [[walk()[0], replace(walk()[1], action=None)]])


def test_chains_are_runs_of_joined_states():
    gone = [t for t in walk("a", steps=9) if t.step != 4]  # step 5 does not begin where step 3 ends
    idle = [replace(t, step=2 * t.step) for t in walk("b", steps=3)]  # what was left out changed nothing
    single = walk("c", steps=1)
    found = chains_of([*idle, *gone[::-1], *single], steps=6)
    assert [[(t.episode, t.step) for t in chain] for chain in found] == [
        [("a", 0), ("a", 1), ("a", 2), ("a", 3)],
        [("a", 5), ("a", 6), ("a", 7), ("a", 8)],
        [("b", 0), ("b", 2), ("b", 4)],
    ]


@pytest.mark.parametrize(("length", "windows"), [(1, []), (2, [2]), (6, [6]), (7, [6]), (8, [6, 2]), (18, [6, 6, 6])])
def test_windows_do_not_overlap(length, windows):
    found = chains_of(walk(steps=length), steps=6)
    assert [len(chain) for chain in found] == windows
    assert [t.step for chain in found for t in chain] == list(range(sum(windows)))


def test_episodes_of_one_name_in_two_environments_stay_apart():
    found = chains_of(walk(steps=2, environment="web") + walk(steps=3, environment="tool"), steps=6)
    assert [(chain[0].environment, len(chain)) for chain in found] == [("tool", 3), ("web", 2)]
