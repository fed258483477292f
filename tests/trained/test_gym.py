"""An agent in the learned world."""

import json
import sys

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import TimeLimit

from swirl_lightning.trained.gym import WorldModelEnv, first_states
from swirl_lightning.types import InputError

START = "door open\nlamp on\nsafe free"
DIM = "door open\nlamp off\nsafe free"


def lamp_is_off(state, action, next_state):
    return "lamp off" in next_state


@pytest.fixture
def env(model):
    return WorldModelEnv(model, [START], reward=lamp_is_off, terminated=lamp_is_off)


@pytest.mark.filterwarnings("ignore:.*render.*")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_gymnasium_finds_nothing_wrong(model, temperature):
    env = WorldModelEnv(model, [START, DIM], reward=lamp_is_off, temperature=temperature)
    check_env(env, skip_render_check=True, skip_close_check=True)


@pytest.mark.filterwarnings("ignore:.*render.*", "ignore:.*unwrapped version.*")
@pytest.mark.parametrize("answers", ["good", "malformed"])
def test_gymnasium_finds_nothing_wrong_with_the_documented_environment(answers, model, monkeypatch):
    if answers == "malformed":
        monkeypatch.setattr(model.fwm, "max_new_tokens", 1)
    world = WorldModelEnv(
        model, [START], lamp_is_off, lamp_is_off, temperature=1.0, actions=["push", "dim", "unlock"]
    )  # fmt: skip
    check_env(TimeLimit(world, max_episode_steps=5), skip_render_check=True, skip_close_check=True)


def test_samples_are_known_actions_or_short(model, state_only, rows, tmp_path):
    known = WorldModelEnv(model, [START], lamp_is_off, actions=["push", "dim"]).action_space
    known.seed(0)
    assert {known.sample() for _ in range(30)} == {"push", "dim"}
    assert "anything else" in known
    assert {len(known.sample(mask=(7, None))) for _ in range(3)} == {7}
    short = WorldModelEnv(model, state_only, lamp_is_off).action_space
    assert {1 <= len(short.sample()) <= 24 for _ in range(50)} == {True}
    log = tmp_path / "labelled.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert WorldModelEnv(model, log, lamp_is_off).action_space.known == tuple(dict.fromkeys(r["action"] for r in rows))
    for wrong in ("", "x" * 61, 3):
        with pytest.raises(InputError, match="actions: found"):
            WorldModelEnv(model, [START], lamp_is_off, actions=["push", wrong], max_length=60)


def test_an_episode(env):
    state, info = env.reset(seed=0)
    assert (state, info) == (START, {})
    state, reward, terminated, truncated, info = env.step("push")
    assert (state, reward, terminated, truncated) == ("door shut\nlamp on\nsafe free", 0.0, False, False)
    assert info["malformed"] is None
    assert -1 < info["logp"] < 0
    state, reward, terminated, truncated, _ = env.step("dim")
    assert (state, reward, terminated, truncated) == ("door shut\nlamp off\nsafe free", 1.0, True, False)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("light")


def test_reward_and_ending_see_state_action_and_next_state(model):
    seen = []
    env = WorldModelEnv(model, [START], reward=lambda *step: seen.append(step) or 2.5, terminated=lambda *step: False)
    env.reset(seed=0)
    assert env.step("dim")[1] == 2.5
    assert seen == [(START, "dim", DIM)]


def test_two_malformed_predictions_in_a_row_truncate(model, monkeypatch):
    env = WorldModelEnv(model, [START], reward=lambda *step: 1.0)

    def malformed():
        with monkeypatch.context() as patch:
            patch.setattr(model.fwm, "max_new_tokens", 2)
            state, reward, terminated, truncated, info = env.step("dim")
        assert (state, reward, terminated) == (START, 0.0, False)
        assert info["malformed"].startswith("found no end within 2 tokens")
        return truncated

    env.reset(seed=0)
    assert not malformed()
    env.reset(seed=0)
    assert not malformed()
    assert env.step("dim")[0] == DIM
    env.reset(seed=0)
    assert [malformed(), malformed()] == [False, True]
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("dim")
    env.reset()
    assert env.step("dim")[0] == DIM


def test_first_states_are_drawn_by_the_seed_or_given(model):
    env = WorldModelEnv(model, [START, DIM], reward=lamp_is_off)
    drawn = [env.reset(seed=seed)[0] for seed in range(12)]
    assert set(drawn) == {START, DIM}
    assert drawn == [env.reset(seed=seed)[0] for seed in range(12)]
    assert env.reset(options={"state": "lamp on"})[0] == "lamp on"


def test_draws_follow_the_seed(model):
    env = WorldModelEnv(model, [START], reward=lamp_is_off, temperature=4.0)

    def play(seed):
        env.reset(seed=seed)
        return env.step("dim")[4]["logp"]

    played = [play(seed) for seed in range(5)]
    assert len(set(played)) > 1
    assert played == [play(seed) for seed in range(5)]


def test_a_log_gives_the_first_state_of_each_episode(model, state_only, rows):
    turned = state_only.read_text().splitlines()[::-1]
    state_only.write_text("\n".join(turned))
    firsts = [row["state"] for row in rows if row["step"] == 0]
    assert first_states(state_only) == firsts[::-1]
    assert WorldModelEnv(model, state_only, reward=lamp_is_off).starts == firsts[::-1]


def test_any_text_is_a_state_and_wrappers_work(model):
    env = TimeLimit(WorldModelEnv(model, ["lamp on é\u2603"], reward=lamp_is_off, max_length=50), max_episode_steps=1)
    state, _ = env.reset(seed=1)
    assert state in env.observation_space
    assert "x" * 51 not in env.observation_space
    assert "" not in env.action_space
    assert env.action_space.sample() in env.action_space
    assert env.step("dim")[3]


def test_wrong_starts(model, tmp_path):
    with pytest.raises(InputError, match="starts: found none"):
        WorldModelEnv(model, [], reward=lamp_is_off)
    with pytest.raises(InputError, match="starts: found one text"):
        WorldModelEnv(model, START, reward=lamp_is_off)
    with pytest.raises(InputError, match="no such file"):
        WorldModelEnv(model, tmp_path / "none.jsonl", reward=lamp_is_off)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.delitem(sys.modules, "swirl_lightning.trained.gym")
    with pytest.raises(InputError, match=r"pip install 'swirl-lightning\[gym\]'"):
        import swirl_lightning.trained.gym  # noqa: F401
