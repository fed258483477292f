"""The GRPO step of a role: distinct completions with counts equal all samples by themselves, and the definition."""

import itertools
import math

import pytest
import torch

from swirl_lightning.engine import GREEDY, MicroBatchSizes, continuation
from swirl_lightning.engine.forest import plant
from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.modules.learning import Lesson
from swirl_lightning.types import Answer

PROMPTS = ((7, 8, 9, 10), (30, 31))
COMPLETIONS = ((), (40, 41), (50,), (60, 61, 62, 63))
PROMPT_OF = (0, 0, 1, 1)
GROUPS = ((0, 1, 0, 0), (2, 3, 3, 2))  # row of each sample
REWARDS = torch.tensor([-1.0, -2.5, -0.3, -4.0])
UNFINISHED = 3


def rollouts_of(model, rows, groups, support):
    """Rollouts of the given rows; ``support`` allows all even ids and the sampled one."""
    eos = model.codec.eos
    ids = [COMPLETIONS[n] + (() if n == UNFINISHED else (eos,)) for n in rows]
    longest = max(map(len, ids))
    allowed = None
    if support:
        allowed = torch.full((len(rows), longest, 141), -1)
        for n, row in enumerate(ids):
            for t, token in enumerate(row):
                choice = sorted({*range(0, 280, 2), token})
                allowed[n, t, : len(choice)] = torch.tensor(choice)
    return Rollouts(
        prompts=PROMPTS,
        completions=tuple(COMPLETIONS[n] for n in rows),
        prompt_of=torch.tensor([PROMPT_OF[n] for n in rows]),
        row_of=torch.tensor(groups),
        ids=torch.tensor([row + (eos,) * (longest - len(row)) for row in ids]),
        mask=torch.tensor([[t < len(row) for t in range(longest)] for row in ids]),
        finished=torch.tensor([n != UNFINISHED for n in rows]),
        logp=torch.zeros(len(rows), longest),
        support=allowed,
    )


def distinct_and_expanded(model, support=False):
    flat = [row for group in GROUPS for row in group]
    return (
        (rollouts_of(model, range(4), GROUPS, support), REWARDS),
        (rollouts_of(model, flat, ((0, 1, 2, 3), (4, 5, 6, 7)), support), REWARDS[flat]),
    )


def accumulated(role, accumulate, *args):
    """What a method of the role returns, and the gradients that it leaves."""
    for p in role.policy.parameters():
        p.grad = None
    result = accumulate(*args)
    return result, [p.grad for p in role.policy.parameters()]


def step(role, rollouts, rewards):
    """Loss, its gradient, and what is reported beside it; old log-probs come from slightly different weights."""
    experience = role.experience(rollouts, rewards, rollouts.prompts)
    if role.grpo.inner_steps > 1:
        shift = torch.randn(experience.old_logp.shape[1], generator=torch.Generator().manual_seed(5))
        experience = experience._replace(old_logp=experience.old_logp + 0.3 * shift * rollouts.mask)
    update, gradients = accumulated(role, role.reinforce, experience)
    return torch.tensor(update), gradients


CASES = [
    {"loss": loss, "importance": importance, "inner_steps": inner}
    for loss, importance, inner in itertools.product(["grpo", "dr_grpo", "dapo"], ["token", "sequence"], [1, 2])
]
CASES += [{"beta": 0.0}, {"advantage_scale": "batch"}, {"advantage_scale": "none"}]
CASES += [{"temperature": 0.6}, {"top_p": 0.9, "top_k": 100, "inner_steps": 2}]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_distinct_rows_equal_all_samples(options, phase_swirl):
    model, _ = phase_swirl(fwm={"beta": 0.2} | options)
    one, all_ = distinct_and_expanded(model, support="top_p" in options)
    values, gradients = step(model.fwm, *one)
    expected_values, expected = step(model.fwm, *all_)
    torch.testing.assert_close(values, expected_values, atol=1e-5, rtol=1e-5)
    norm = torch.stack([g.norm() for g in expected]).norm()
    assert norm > 1e-3
    for ours, theirs in zip(gradients, expected, strict=True):
        assert (ours - theirs).norm() <= 1e-5 * norm


def test_against_the_definition(phase_swirl, whole_text_logps):
    """arXiv:2402.03300 eq. 3 written out over all samples: group advantage, mean over tokens, k3 KL, EOS included."""
    beta = 0.3
    model, _ = phase_swirl(fwm={"beta": beta})
    role, eos = model.fwm, model.codec.eos
    (rollouts, rewards), _ = distinct_and_expanded(model)
    values, gradients = step(role, rollouts, rewards)
    total, kls = 0.0, []
    for group in GROUPS:
        group_rewards = REWARDS[list(group)]
        for row in group:
            advantage = (REWARDS[row] - group_rewards.mean()) / (group_rewards.std() + 1e-4)
            ids = COMPLETIONS[row] + (() if row == UNFINISHED else (eos,))
            logp = whole_text_logps(role.policy, PROMPTS[PROMPT_OF[row]], ids)
            with torch.no_grad():
                ref = whole_text_logps(role.reference, PROMPTS[PROMPT_OF[row]], ids)
            ratio = (logp - logp.detach()).exp()
            kl = (ref - logp).exp() - (ref - logp) - 1
            kls.append(kl.mean().item())
            total = total - (ratio * advantage - beta * kl).mean() / 8
    assert values[0] == pytest.approx(total.item(), abs=1e-5)
    assert values[1] == pytest.approx(sum(kls) / 8, abs=1e-5)
    assert values[1] > 1e-3
    for ours, theirs in zip(gradients, torch.autograd.grad(total, role.policy.parameters()), strict=True):
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm() + 1e-6


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "top_p": 0.96}], ids=["plain", "bent"])
def test_the_kl_is_that_of_the_plain_distributions(options, phase_swirl, whole_text_logps):
    """Value and gradient, per token and of whole completions, whatever the policy samples with.

    Under top-p both models give a token that stands alone log-probability 0, and a KL between such distributions says
    that nothing has changed.
    """
    model, data = phase_swirl(fwm={"beta": 0.3, "group_size": 6} | options, scale=12.0)
    role, layout = model.fwm, model.codec.prompts()
    prompts = [layout.forward(code.x, (50, 51)) for code in map(model.codec.encode, data.state_only[:3])]
    rollouts = role.rollout(prompts, [1, 2, 3])
    experience = role.experience(rollouts, torch.zeros(len(rollouts.completions)), prompts)  # no advantage: KL alone
    update, gradients = accumulated(role, role.reinforce, experience)
    kl, whole_kl, samples = 0.0, 0.0, int(rollouts.counts.sum())
    for n, count in enumerate(rollouts.counts.tolist()):
        ids, prompt = rollouts.ids[n, rollouts.mask[n]].tolist(), prompts[rollouts.prompt_of[n]]
        logp = whole_text_logps(role.policy, prompt, ids)
        with torch.no_grad():
            ref = whole_text_logps(role.reference, prompt, ids)
        kl = kl + count / samples * ((ref - logp).exp() - (ref - logp) - 1).mean()
        whole_kl += count / samples * float((logp.detach() - ref).sum())
    assert kl > 0.1
    assert update.kl == pytest.approx(float(kl), rel=1e-4)
    assert update.sequence_kl == pytest.approx(whole_kl, rel=1e-4)
    assert update.loss == pytest.approx(0.3 * float(kl), rel=1e-4)
    for ours, theirs in zip(gradients, torch.autograd.grad(0.3 * kl, role.policy.parameters()), strict=True):
        assert (ours - theirs).norm() <= 1e-3 * theirs.norm() + 1e-6


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "top_p": 0.96}], ids=["plain", "bent"])
def test_a_kl_in_the_reward_is_the_whole_log_ratio(options, phase_swirl, whole_text_logps):
    """Of the plain distributions; the loss has no KL term beside it, and the figures show it all the same."""
    model, data = phase_swirl(
        fwm={"beta": 0.3, "kl": "reward", "group_size": 6, "advantage_scale": "none"} | options, scale=12.0
    )
    role, layout = model.fwm, model.codec.prompts()
    prompts = [layout.forward(code.x, (50, 51)) for code in map(model.codec.encode, data.state_only[:3])]
    rollouts = role.rollout(prompts, [1, 2, 3])
    rewards = torch.linspace(-3, 0, len(rollouts.completions))
    experience = role.experience(rollouts, rewards, prompts)
    for n, reward in enumerate(rewards.tolist()):
        ids, prompt = rollouts.ids[n, rollouts.mask[n]].tolist(), prompts[rollouts.prompt_of[n]]
        with torch.no_grad():
            logp, ref = (whole_text_logps(policy, prompt, ids).sum() for policy in (role.policy, role.reference))
        assert float(experience.rewards[n]) == pytest.approx(reward - 0.3 * float(logp - ref), abs=1e-3)
    groups = experience.rewards[rollouts.row_of]
    advantages = (groups - groups.mean(1, keepdim=True)).flatten()
    torch.testing.assert_close(experience.advantages[rollouts.row_of.flatten()], advantages, atol=1e-4, rtol=1e-4)
    assert (experience.rewards - rewards).abs().max() > 0.1
    update, _ = accumulated(role, role.reinforce, experience._replace(advantages=torch.zeros(len(rewards))))
    assert update.loss == 0
    assert update.kl > 0.1


def test_first_step_has_ratio_one_and_no_kl(phase_swirl):
    """With the policy as its own reference: KL is 0 exactly, and nothing is clipped."""
    for options in ({}, {"top_p": 0.7, "temperature": 0.8}, {"inner_steps": 2}):
        model, data = phase_swirl(fwm={"beta": 0.5, "group_size": 6} | options)
        model.weights.copy("fwm", "reference")
        layout = model.codec.prompts()
        prompts = [layout.forward(code.x, (50, 51)) for code in map(model.codec.encode, data.state_only[:3])]
        rollouts = model.fwm.rollout(prompts, [1, 2, 3])
        rewards = torch.linspace(-3, 0, len(rollouts.completions))
        experience = model.fwm.experience(rollouts, rewards, prompts)
        if not options or "inner_steps" in options:  # the distribution that is sampled from is the plain one
            torch.testing.assert_close(experience.ref_logp, rollouts.logp, atol=1e-4, rtol=1e-4)
        update = model.fwm.reinforce(experience)
        assert update.kl == 0
        assert update.clip_fraction == 0
        if experience.old_logp is not None:
            torch.testing.assert_close(experience.old_logp, rollouts.logp, atol=1e-4, rtol=1e-4)


def test_every_sample_counts(phase_swirl):
    """All G completions of every prompt are in the loss (the release threw most of them away)."""
    model, data = phase_swirl(fwm={"group_size": 5})
    layout = model.codec.prompts()
    prompts = [layout.forward(code.x, (50, 51)) for code in map(model.codec.encode, data.state_only[:4])]
    rollouts = model.fwm.rollout(prompts, [1, 2, 3, 4])
    assert rollouts.row_of.shape == (4, 5)
    assert rollouts.counts.sum() == 20
    rewards = torch.randn(len(rollouts.completions), generator=torch.Generator().manual_seed(0))
    experience = model.fwm.experience(rollouts, rewards, prompts)
    assert experience.normalizer == 20
    _, full = accumulated(model.fwm, model.fwm.reinforce, experience)
    for n in range(len(rollouts.completions)):  # silencing any one of them changes the gradient
        quiet = experience.advantages.clone()
        quiet[n] = 0.0
        _, other = accumulated(model.fwm, model.fwm.reinforce, experience._replace(advantages=quiet))
        assert max((a - b).abs().max() for a, b in zip(full, other, strict=True)) > 1e-6


def test_entropy(phase_swirl):
    """Mean over the tokens of all samples, at temperature 1 with every token allowed, whatever is sampled from."""
    model, _ = phase_swirl(fwm={"temperature": 0.7})
    (rollouts, rewards), _ = distinct_and_expanded(model, support=True)
    experience = model.fwm.experience(rollouts, rewards, PROMPTS)
    entropy = model.fwm.reinforce(experience).entropy
    total, tokens, eos = 0.0, 0, model.codec.eos
    for row in itertools.chain.from_iterable(GROUPS):
        ids = COMPLETIONS[row] + (() if row == UNFINISHED else (eos,))
        prompt = PROMPTS[PROMPT_OF[row]]
        logits = model.weights.activate("fwm")(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        logp = torch.log_softmax(logits, -1)
        total -= (logp.exp() * logp).sum().item()
        tokens += len(ids)
    assert entropy == pytest.approx(total / tokens, rel=1e-4)


def test_supervise(phase_swirl, whole_text_logps):
    """Minus the mean log-prob per token at temperature 1, end token included, whatever the sampling temperature."""
    model, _ = phase_swirl("sft", fwm={"temperature": 0.5, "top_k": 3})
    eos, targets = model.codec.eos, [(40, 41, 42), ()]
    loss, ours = accumulated(model.fwm, model.fwm.study, [Lesson(PROMPTS, targets)])
    logps = [whole_text_logps(model.fwm.policy, p, (*target, eos)) for p, target in zip(PROMPTS, targets, strict=True)]
    expected = -torch.cat(logps).mean()
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    theirs = torch.autograd.grad(expected, model.fwm.policy.parameters())
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).norm() <= 1e-4 * b.norm() + 1e-6


@pytest.mark.parametrize("engine", ["auto", "plain"])
@pytest.mark.parametrize("size", [None, 2])
@pytest.mark.parametrize("options", [{}, {"temperature": 0.7}, {"temperature": 0.7, "top_p": 0.9}], ids=str)
def test_lessons_beside_rollouts_count_what_they_count_alone(options, size, engine, phase_swirl):
    """Values and gradients, whatever the completions were sampled with; a shared prompt is read once.

    A target is one of the completions, another one is longer than all; a prompt is one of the rollouts'.
    """
    model, _ = phase_swirl(fwm={"beta": 0.2} | options, engine=engine)
    role = model.fwm
    role.policy.sizes = MicroBatchSizes(update=size)
    (rollouts, rewards), _ = distinct_and_expanded(model, support="top_p" in options)
    lessons = [
        Lesson((PROMPTS[1], (3, 4, 5)), [COMPLETIONS[2], (41, 43, 45, 47, 49, 51)], 0.7),
        Lesson((PROMPTS[1], PROMPTS[0], PROMPTS[1]), [COMPLETIONS[2], (77,), (50, 51)], 0.2),
    ]
    read = model.fwm.policy.gradient_tokens
    update, grpo = step(role, rollouts, rewards)
    value, supervised = accumulated(role, role.study, lessons)
    apart, read = role.policy.gradient_tokens - read, role.policy.gradient_tokens
    together, gradients = accumulated(role, role.reinforce, role.experience(rollouts, rewards, PROMPTS), lessons)
    torch.testing.assert_close(torch.tensor(together[:5]), update[:5], atol=1e-6, rtol=1e-5)
    assert update[5] == 0
    assert together.supervised == pytest.approx(value, rel=1e-5)
    assert abs(value) > 0.1
    for ours, one, other in zip(gradients, grpo, supervised, strict=True):
        assert (ours - one - other).norm() <= 1e-5 * (one + other).norm()
    saved = apart - (role.policy.gradient_tokens - read)
    if engine == "auto" and size is None:  # prompts of lessons that the rollouts have, and the token 50 of four rows
        assert saved == len(PROMPTS[0]) + 3 * len(PROMPTS[1]) + 3


def test_lessons_alone_are_texts_in_a_row_each(phase_swirl, monkeypatch):
    """In pretraining all have the same prompt of one token: a tree of whole texts would be slow."""
    model, _ = phase_swirl("sft")
    seen = []
    monkeypatch.setattr(
        continuation, "plant", lambda *args, **options: seen.append(plant(*args, **options)) or seen[-1]
    )
    model.fwm.study([Lesson([(7,)] * 3, [(40, 41, 42), (40, 41), (50,)])])
    (forest,) = seen
    assert forest.straight
    assert len(forest.prompt_of) == 3


def test_lessons_of_other_answers_are_refused(phase_swirl):
    model, _ = phase_swirl("sft")
    (rollouts, rewards), _ = distinct_and_expanded(model)
    other = Lesson(PROMPTS, [(40,), (41,)], answer=Answer(end=7))
    with pytest.raises(ValueError, match="of one kind"):
        model.fwm.study([Lesson(PROMPTS, [(40,), (41,)]), other])
    with pytest.raises(ValueError, match="beside rollouts"):
        model.fwm.reinforce(model.fwm.experience(rollouts, rewards, PROMPTS), [other])


def test_answers(phase_swirl):
    """Greedy without seeds, sampled with them; the log-prob is that of the whole answer."""
    model, _ = phase_swirl()
    for seeds in (None, [3, 4]):
        answers, logp, ended = model.idm.answer(PROMPTS, seeds)
        sampling = GREEDY if seeds is None else model.idm.sampling
        again = model.idm.policy.generate(PROMPTS, seeds or [9, 9], group_size=1, max_tokens=6, sampling=sampling)
        assert answers == [again.completions[n] for n in again.row_of[:, 0].tolist()]
        assert ended == [bool(again.finished[n]) for n in again.row_of[:, 0].tolist()]
        assert logp.tolist() == [again.logp[n].sum().item() for n in again.row_of[:, 0].tolist()]
        assert all(math.isfinite(x) and x < 0 for x in logp.tolist())


def test_an_answer_takes_part_in_no_reordering(phase_swirl):
    """Two equal prompts with the same seed get the same answer, in the order of the prompts."""
    model, _ = phase_swirl()
    prompts = [PROMPTS[1], PROMPTS[0], PROMPTS[1]]
    answers, logp, _ = model.idm.answer(prompts, [3, 4, 3])
    assert answers[0] == answers[2] != answers[1]
    assert logp[0] == pytest.approx(logp[2].item(), abs=1e-5)
    assert answers[1] == model.idm.answer([PROMPTS[0]], [4])[0][0]


def test_reference_prompts_may_differ(phase_swirl, whole_text_logps):
    """The prior's reference conditions on its own prompts."""
    model, _ = phase_swirl("elbo", idm={"beta": 0.1})
    (rollouts, rewards), _ = distinct_and_expanded(model)
    priors = ((90, 91), (92,))
    experience = model.idm.experience(rollouts, rewards, priors)
    for n, p in enumerate(PROMPT_OF):
        ids = rollouts.ids[n, rollouts.mask[n]].tolist()
        expected = whole_text_logps(model.idm.reference, priors[p], ids).detach()
        torch.testing.assert_close(experience.ref_logp[n, : len(ids)], expected, atol=1e-4, rtol=1e-4)
