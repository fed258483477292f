"""The scorer reads, token for token, the text it was trained on (the release did not)."""

import pytest
import torch

from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.modules.learning import Lesson
from swirl_lightning.modules.phases import PHASES
from swirl_lightning.types import Batch


def texts_of(calls):
    """Every text that passed through a policy: (ids, number of scored tokens)."""
    return [
        (tuple(prompts[p]) + tuple(row), count)
        for (prompts, prompt_of, rows, scored, *_), _, _ in calls
        for p, row, count in zip(prompt_of.tolist(), rows, scored, strict=True)
    ]


def hand_made(prompts, groups):
    """Rollouts of given completions, each once, all finished."""
    rows = [(p, c) for p, group in enumerate(groups) for c in group]
    return Rollouts(
        prompts=tuple(prompts),
        completions=tuple(c for _, c in rows),
        prompt_of=torch.tensor([p for p, _ in rows]),
        row_of=torch.arange(len(rows)).reshape(len(groups), -1),
        ids=torch.zeros(len(rows), 1, dtype=torch.long),
        mask=torch.ones(len(rows), 1, dtype=torch.bool),
        finished=torch.ones(len(rows), dtype=torch.bool),
        logp=torch.zeros(len(rows), 1),
    )


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("phase", ["vim", "elbo"])
def test_scoring_text_is_the_training_text(phase, lora, phase_swirl, spy):
    model, data = phase_swirl(phase, lora=lora)
    learner, scorer = (model.fwm, model.idm) if phase == "vim" else (model.idm, model.fwm)
    completions = [[(), (50, 51), (50, 51, 52)], [(60,), (), (61, 62, 63, 64)]]  # empty ones among them
    learner.rollout = lambda prompts, seeds: hand_made(prompts, completions)
    seen = {}

    likelihood = model.reward

    def reward(rollouts, task, policy):
        calls = spy(policy, "logprobs")
        rewards = likelihood(rollouts, task, policy)
        seen["scored"], seen["by"] = texts_of(calls), policy
        return rewards

    model.reward = reward
    model.updates.step = lambda role, loss: 0.0
    latent = spy(model.idm, "answer")
    pairs = data.state_only[:2]
    PHASES[phase].step(model, Batch(pairs, []))
    assert seen["by"] is scorer.policy

    # the same transitions, with each completion in its place, as the supervised loss presents them
    codes = [model.codec.encode(t) for t in pairs]
    prompts, targets = [], []
    for p, group in enumerate(completions):
        for completion in group:
            if phase == "vim":
                prompts.append(model.idm.prompt(codes[p], completion))
                targets.append(latent[0][2].ids[p])
            else:
                prompts.append(model.fwm.prompt(codes[p], completion))
                targets.append(codes[p].y)
    trained = spy(scorer.policy, "accumulate")
    model.weights.set_trainable(scorer.policy.name)
    scorer.study([Lesson(prompts, targets)])
    assert seen["scored"] == texts_of(trained)
    assert all(text[-1] == model.codec.eos for text, _ in seen["scored"])


def test_supervision_reads_the_same_prompts(phase_swirl, spy):
    """Closes the circle: the warm-up's texts are those prompts, the true action and state in place, end token last."""
    model, data = phase_swirl("sft")
    layout, batch = model.codec.prompts(), data.labelled[:3]
    for role in (model.fwm, model.idm):
        calls = spy(role.policy, "accumulate")
        codes = [model.codec.encode(t) for t in batch]
        role.study(role.lessons(codes))
        parts = [(c.x, c.z, c.y) if role is model.fwm else (c.x, c.y, c.z) for c in codes]
        make = layout.forward if role is model.fwm else layout.inverse
        expected = [(make(x, given) + target + (model.codec.eos,), len(target) + 1) for x, given, target in parts]
        assert texts_of(calls) == expected


def test_what_a_reward_is_told(phase_swirl):
    """A task names the transitions, without actions, and the completions as text."""
    model, data = phase_swirl("vim")
    edit = tuple(model.codec.tokenizer.encode(f"- {data.state_only[0].state.splitlines()[0]}"))
    model.fwm.rollout = lambda prompts, seeds: hand_made(prompts, [[(), edit, (1, 2)]])
    tasks, likelihood = [], model.reward
    model.reward = lambda rollouts, task, policy: tasks.append(task) or likelihood(rollouts, task, policy)
    model.updates.step = lambda role, loss: 0.0
    PHASES["vim"].step(model, Batch(data.state_only[:1], []))
    (task,) = tasks
    state = data.state_only[0].state
    assert task.transitions == (data.state_only[0],)
    assert task.transitions[0].action is None
    assert list(task.texts) == [state, "\n".join(state.splitlines()[1:]), None]
