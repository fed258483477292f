"""A state goes on through actions as the world does, until a prediction is malformed."""

import re
from dataclasses import replace

import pytest
import torch

from swirl_lightning.engine import Sampling
from swirl_lightning.modules.grpo_mixin import target_logprobs
from swirl_lightning.modules.prediction import predict_next
from swirl_lightning.trained.gym import WorldModelEnv
from swirl_lightning.trained.rollout import Step, kept_steps, read_actions, roll_out
from swirl_lightning.types import InputError, Transition

START = "door open\nlamp on\nsafe free"
ACTIONS = ["dim", "bolt", "light", "push"]
STATES = [
    "door open\nlamp off\nsafe free",
    "door open\nlamp off\nsafe locked",
    "door open\nlamp on\nsafe locked",
    "door shut\nlamp on\nsafe locked",
]
LONG = "\n".join(f"thing{n:02} on" for n in range(40))


def test_each_state_is_fed_back(model):
    steps = roll_out(model, START, ACTIONS)
    assert [step.action for step in steps] == ACTIONS
    assert [step.state for step in steps] == STATES
    assert {step.problem for step in steps} == {None}


@pytest.mark.parametrize("done", [1, 3])
def test_steps_are_kept_until_their_file_is_there(model, tmp_path, monkeypatch, done):
    """Whatever ends a rollout, the same one goes on; another one is not begun from its steps."""
    out, whole, asked = tmp_path / "steps.jsonl", roll_out(model, START, ACTIONS), []
    real = predict_next

    def some(*args, **options):
        asked.append(args)
        if len(asked) == done + 1:
            raise OSError(28, "No space left on device")
        return real(*args, **options)

    monkeypatch.setattr("swirl_lightning.trained.rollout.predict_next", some)
    with (
        pytest.raises(OSError, match=f"{done} steps are kept in .*steps.jsonl.kept, and the same command goes on"),
        kept_steps(model, START, ACTIONS, out) as kept,
    ):
        roll_out(model, START, ACTIONS, kept=kept)
    with pytest.raises(InputError, match="other arguments"), kept_steps(model, START, ACTIONS[:3], out):
        pass
    with kept_steps(model, START, ACTIONS, out) as kept:
        assert [Step(**row) for row in kept.rows] == whole[:done]
        assert roll_out(model, START, ACTIONS, kept=kept) == whole
    assert len(asked) == len(ACTIONS) + 1
    assert not list(tmp_path.iterdir())


def test_logp_is_that_of_the_edit_and_its_end(model):
    code = model.codec.encode(Transition("e", 0, START, STATES[0], ACTIONS[0]))
    truth, _ = target_logprobs(model.fwm.policy, [model.fwm.prompt(code, code.z)], [code.y])
    (step,) = roll_out(model, START, ACTIONS[:1])
    assert step.logp == pytest.approx(float(truth.detach().sum()), abs=1e-4)


def test_draws_depend_on_the_seed_alone(model):
    hot, states, actions = Sampling(temperature=3.0), [START] * 6, ["dim"] * 6
    seeds = [1, 2, 3, 4, 5, 6]
    drawn = predict_next(model, states, actions, sampling=hot, seeds=seeds)
    assert len({step.logp for step in drawn}) > 1
    turned = predict_next(model, states, actions, sampling=hot, seeds=seeds[::-1])[::-1]
    assert [step.state for step in turned] == [step.state for step in drawn]
    assert roll_out(model, START, ACTIONS, temperature=3.0, seed=4) == roll_out(
        model, START, ACTIONS, temperature=3.0, seed=4
    )


def test_what_cannot_be_predicted_leaves_the_others_alone(model):
    good, long = predict_next(model, [START, LONG], ["dim", "dim"])
    assert good.state == STATES[0]
    assert long.state is None
    assert re.match(r"\d+ tokens in all", long.problem)
    assert "at most 100" in long.problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- lamp on\n+ lamp off", "expected an edit that fits the state"),
        ("lamp off", "expected an edit that fits the state"),
        (None, "found no end within 24 tokens (model.fwm.max_new_tokens)"),
    ],
)
def test_a_malformed_prediction_ends_the_rollout(model, monkeypatch, text, problem):
    generate = model.fwm.policy.generate
    asked = []

    def spoilt(prompts, *args, **kwargs):
        asked.append(prompts)
        rollouts = generate(prompts, *args, **kwargs)
        if len(asked) == 2 and text is not None:
            ids = tuple(model.codec.tokenizer.encode(text, add_special_tokens=False))
            return replace(rollouts, completions=(ids,), finished=torch.tensor([True]))
        if len(asked) == 2:
            rollouts.finished[:] = False
        return rollouts

    monkeypatch.setattr(model.fwm.policy, "generate", spoilt)
    steps = roll_out(model, START, ACTIONS)
    assert [step.state for step in steps] == [STATES[0], None]
    assert problem in steps[1].problem
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("text", "actions"),
    [
        ("go north\nopen door\n", ["go north", "open door"]),
        ("go north\r\nopen door\r\n", ["go north", "open door"]),
        ('["go north", "a\\nb"]', ["go north", "a\nb"]),
    ],
)
def test_actions_are_lines_or_a_list(tmp_path, text, actions):
    path = tmp_path / "actions"
    path.write_bytes(text.encode())
    assert read_actions(path) == actions


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"go\n\nopen\n", ":2: found ''"),
        (b'["go", 3]', "entry 2: found 3"),
        (b'["go"', "no valid JSON"),
        (b"[]", "an empty list"),
        (b"", ":1: found ''"),
        (b"\xff\xfe", "expected a text file in UTF-8"),
    ],
)
def test_wrong_actions(tmp_path, text, said):
    path = tmp_path / "actions"
    path.write_bytes(text)
    with pytest.raises(InputError) as caught:
        read_actions(path)
    assert str(caught.value).startswith("--actions: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("temperature", [-1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_refused(model, temperature):
    with pytest.raises(InputError, match=f"--temperature: found {temperature}, expected at least 0"):
        roll_out(model, START, ACTIONS, temperature=temperature)
    with pytest.raises(InputError, match=f"^temperature: found {temperature}, expected at least 0"):
        WorldModelEnv(model, [START], lambda *_: 0.0, temperature=temperature)
