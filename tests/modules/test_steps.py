"""One call of a phase's step: which texts, which terms of the loss, which seeds."""

from dataclasses import replace

import pytest
import torch

from swirl_lightning.engine import GREEDY
from swirl_lightning.modules.learning import Lesson
from swirl_lightning.modules.phases import PHASES
from swirl_lightning.modules.phases.base import latent_actions
from swirl_lightning.rewards import LikelihoodReward, NextStateReward, Rewards, WeightedSum
from swirl_lightning.types import Batch


def captured_loss(model, phase, batch):
    """The loss of a step, the gradient that it would optimise, and its metrics."""
    losses, gradients = [], []

    def keep(role, loss):
        losses.append(loss)
        gradients.append(gradient_of(role))
        return 0.0

    model.updates.step = keep
    metrics = PHASES[phase].step(model, batch)
    return losses[-1], gradients[-1], metrics


def gradient_of(role):
    return torch.cat([p.grad.flatten() for p in role.policy.parameters()])


def supervised(role, *lessons):
    """A supervised loss and its gradient."""
    for p in role.policy.parameters():
        p.grad = None
    return role.study(lessons), gradient_of(role)


def lessons(model, role, transitions):
    return role.lessons([model.codec.encode(t) for t in transitions])


def at(model, update):
    model.updates.place = replace(model.updates.place, update=update)


def test_bootstrap_and_anchor_terms(phase_swirl, spy):
    """Both are supervised losses beside GRPO's, with their own weights."""
    model, data = phase_swirl(fwm={"beta": 0.2})
    batch, layout = Batch(data.state_only[:3], data.labelled[:2]), model.codec.prompts()
    latent = spy(model.idm, "answer")
    plain = captured_loss(model, "vim", batch)
    model.bootstrap = 0.7
    with_bootstrap = captured_loss(model, "vim", batch)
    model.bootstrap, model.fwm.grpo = 0.0, replace(model.fwm.grpo, anchor=0.4)
    with_anchor = captured_loss(model, "vim", batch)

    codes, zs = [model.codec.encode(t) for t in batch.pairs], latent[0][2].ids
    prompts = [layout.forward(code.x, z) for code, z in zip(codes, zs, strict=True)]
    sft = supervised(model.fwm, Lesson(prompts, [code.y for code in codes]))
    labelled = supervised(model.fwm, *lessons(model, model.fwm, batch.labelled))
    assert sft[0] != pytest.approx(labelled[0])
    for total, coefficient, extra in ((with_bootstrap, 0.7, sft), (with_anchor, 0.4, labelled)):
        assert total[0] == pytest.approx(plain[0] + coefficient * extra[0], abs=1e-5)
        torch.testing.assert_close(total[1], plain[1] + coefficient * extra[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("anchor", [0.0, 0.25, 1.0])
def test_bootstrap_phase(anchor, phase_swirl, spy):
    """A mean of the supervised losses on the IDM's labels and on the true ones, not read without an anchor."""
    model, data = phase_swirl("bootstrap", fwm={"anchor": anchor})
    batch, layout = Batch(data.state_only[:3], data.labelled[:3]), model.codec.prompts()
    latent = spy(model.idm, "answer")
    loss, gradient, _ = captured_loss(model, "bootstrap", batch)
    codes, zs = [model.codec.encode(t) for t in batch.pairs], latent[0][2].ids
    prompts = [layout.forward(code.x, z) for code, z in zip(codes, zs, strict=True)]
    own = supervised(model.fwm, Lesson(prompts, [code.y for code in codes]))
    true = supervised(model.fwm, *lessons(model, model.fwm, batch.labelled))
    assert loss == pytest.approx((own[0] + anchor * true[0]) / (1 + anchor), abs=1e-6)
    torch.testing.assert_close(gradient, (own[1] + anchor * true[1]) / (1 + anchor), atol=1e-6, rtol=1e-4)
    before = model.fwm.policy.gradient_tokens
    PHASES["bootstrap"].step(model, batch)
    read = sum(len(prompt) + len(code.y) for prompt, code in zip(prompts, codes, strict=True))
    assert (model.fwm.policy.gradient_tokens - before == read) == (anchor == 0)


def test_pretrain_reads_states_only(phase_swirl, spy):
    model, data = phase_swirl("pretrain")
    calls = spy(model.fwm.policy, "accumulate")
    captured_loss(model, "pretrain", Batch(data.state_only[:3], []))
    prompts, _, rows, scored = calls[0][0][:4]
    layout = model.codec.prompts()
    codes = [model.codec.encode(t) for t in data.state_only[:3]]
    assert all(prompt == layout.idm[0] for prompt in prompts)
    assert rows == [(*code.x, *layout.idm[1], *code.y, model.codec.eos) for code in codes]
    assert scored == list(map(len, rows))


def test_latent_actions_come_from_the_current_idm(phase_swirl, whole_text_logps):
    model, data = phase_swirl(idm={"temperature": 0.8})
    layout = model.codec.prompts()
    codes = [model.codec.encode(t) for t in data.state_only[:4]]
    prompts = [layout.inverse(code.x, code.y) for code in codes]
    zs, logq = latent_actions(model, codes)
    assert latent_actions(model, codes)[0] == zs  # the same update draws the same
    at(model, update=1)
    assert latent_actions(model, codes)[0] != zs  # the next visit of a pair draws anew
    at(model, update=0)
    for z, q, prompt in zip(zs, logq.tolist(), prompts, strict=True):
        row = z if len(z) == 6 else (*z, model.codec.eos)
        logits = model.weights.activate("idm")(input_ids=torch.tensor([prompt + row])).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits / 0.8, -1).gather(1, torch.tensor(row)[:, None]).sum()
        assert q == pytest.approx(expected.item(), abs=1e-4)

    model.weights.copy("fwm", "idm")
    assert latent_actions(model, codes)[0] != zs  # another IDM, other actions
    model.latent = "greedy"
    greedy = model.idm.policy.generate(prompts, [0] * 4, group_size=1, max_tokens=6, sampling=GREEDY)
    assert latent_actions(model, codes)[0] == [greedy.completions[n] for n in greedy.row_of[:, 0].tolist()]
    at(model, update=1)
    assert latent_actions(model, codes)[0] == [greedy.completions[n] for n in greedy.row_of[:, 0].tolist()]


def test_state_prior(phase_swirl, spy):
    """The KL of the ELBO phase is then to pi_ref(z | x), and the supervised loss trains that prior too."""
    model, data = phase_swirl("elbo", idm={"prior": "state", "beta": 0.5})
    layout, pairs = model.codec.prompts(), data.state_only[:3]
    calls = spy(model.idm.reference, "logprobs")
    captured_loss(model, "elbo", Batch(pairs, []))
    codes = [model.codec.encode(t) for t in pairs]
    assert calls[0][0][0] == [layout.prior(code.x) for code in codes]

    labelled = [model.codec.encode(t) for t in data.labelled[:3]]
    zs = [code.z for code in labelled]
    prompts = [layout.inverse(code.x, code.y) for code in labelled]
    posterior = supervised(model.idm, Lesson(prompts, zs))
    prior = supervised(model.idm, Lesson([layout.prior(code.x) for code in labelled], zs))
    both = supervised(model.idm, *lessons(model, model.idm, data.labelled[:3]))
    assert both[0] == pytest.approx((posterior[0] + prior[0]) / 2, abs=1e-6)
    torch.testing.assert_close(both[1], (posterior[1] + prior[1]) / 2, atol=1e-6, rtol=1e-4)

    model.idm.prior = "posterior"
    calls.clear()
    captured_loss(model, "elbo", Batch(pairs, []))
    assert calls[0][0][0] == [layout.inverse(code.x, code.y) for code in codes]
    alone = supervised(model.idm, *lessons(model, model.idm, data.labelled[:3]))
    assert alone[0] == posterior[0]
    assert torch.equal(alone[1], posterior[1])


def test_seeds(phase_swirl):
    """Different for every purpose, prompt, update, stage, process and run; the same when asked again."""
    model, _ = phase_swirl()
    first = model.updates.seeds("y", 3)
    assert model.updates.seeds("y", 3) == first
    assert model.updates.seeds("y", 5)[:3] == first
    others = model.updates.seeds("z", 3)
    at(model, update=1)
    others += model.updates.seeds("y", 3)
    at(model, update=0)
    model.updates.seed = 1
    others += model.updates.seeds("y", 3)
    assert len({*first, *others}) == 12


def test_groups_without_variance_are_counted(phase_swirl):
    """All rewards of a group equal, to the bit or not, is no variance."""
    model, data = phase_swirl(fwm={"group_size": 7, "beta": 0.0})
    model.updates.step = lambda role, loss: 0.0
    constant = [-0.1, -3.3, -7.7]
    model.reward = lambda rollouts, task, scorer: Rewards(torch.tensor(constant)[rollouts.prompt_of])
    metrics = PHASES["vim"].step(model, Batch(data.state_only[:3], []))
    assert metrics["zero_variance_groups"] == 1
    assert metrics["reward"] == pytest.approx(sum(constant) / 3)
    assert metrics["loss"] == 0


def test_groups_below_the_smallest_spread_count_as_without_variance(phase_swirl):
    """Two of three groups differ by no more than 0.01: their advantages are small, and they are counted."""
    model, data = phase_swirl(fwm={"group_size": 6, "beta": 0.0, "min_spread": 0.1})
    model.updates.step = lambda role, loss: 0.0
    spread = torch.tensor([0.005, 2.0, 0.002])

    def reward(rollouts, task, scorer):
        place = torch.arange(len(rollouts.completions)) % 2
        return Rewards(place * spread[rollouts.prompt_of])

    model.reward = reward
    seen = []
    reinforce = model.fwm.reinforce
    model.fwm.reinforce = lambda experience, lessons: seen.append(experience) or reinforce(experience, lessons)
    figures = PHASES["vim"].step(model, Batch(data.state_only[:3], []))
    assert figures["zero_variance_groups"] == pytest.approx(2 / 3)
    advantages, prompt_of = seen[0].advantages, seen[0].rollouts.prompt_of
    assert advantages[prompt_of != 1].abs().max() < 0.1
    assert advantages[prompt_of == 1].abs().max() > 0.5


def test_the_elbo_bound_is_of_whole_completions(phase_swirl):
    """E log P(y | x, z) minus the mean of log Q - log reference, summed over tokens; without a KL, no bound."""
    model, data = phase_swirl("elbo", idm={"group_size": 6, "beta": 0.1, "max_new_tokens": 5})
    model.updates.step = lambda role, loss: 0.0
    batch = Batch(data.state_only[:3], [])
    seen = []
    rollout = model.idm.rollout
    model.idm.rollout = lambda *args: seen.append(rollout(*args)) or seen[-1]
    metrics = PHASES["elbo"].step(model, batch)
    rollouts = seen[0]
    rows = [tuple(ids[mask].tolist()) for ids, mask in zip(rollouts.ids, rollouts.mask, strict=True)]
    kls = []
    for n in rollouts.row_of.flatten().tolist():
        prompt = [rollouts.prompts[rollouts.prompt_of[n]]]
        one = (prompt, torch.tensor([0]), [rows[n]], [len(rows[n])])
        with torch.no_grad():
            kls.append(
                float(model.idm.policy.logprobs(*one).logp.sum() - model.idm.reference.logprobs(*one).logp.sum())
            )
    assert abs(sum(kls)) > 1e-2
    assert metrics["sequence_kl"] == pytest.approx(sum(kls) / len(kls), abs=1e-4)
    assert metrics["bound"] == pytest.approx(metrics["reward_sequence_logp"] - metrics["sequence_kl"], abs=1e-4)

    model.idm.grpo = replace(model.idm.grpo, beta=0.0)
    assert "bound" not in PHASES["elbo"].step(model, batch)


def test_the_vim_phase_may_ask_for_the_observed_next_state(phase_swirl):
    """And beside the log-prob; the ELBO phase keeps the reward of the method."""
    model, data = phase_swirl(reward=LikelihoodReward(), vim_reward=NextStateReward("rouge_l"))
    model.codec.next_state = lambda state, ids: f"{state}\n{len(ids)}"
    model.updates.step = lambda role, loss: 0.0
    batch = Batch(data.state_only[:3], [])
    assert all(t.action is None for t in batch.pairs)
    figures = PHASES["vim"].step(model, batch)
    assert 0 <= figures["reward"] <= 1
    assert "reward_sequence_logp" not in figures
    assert "bound" not in figures
    model.weights.set_trainable("idm")
    assert PHASES["elbo"].step(model, batch)["reward"] < 0
    model.weights.set_trainable("fwm")
    model.vim_reward = WeightedSum([LikelihoodReward(), NextStateReward("rouge_l")], [1.0, 2.0])
    figures = PHASES["vim"].step(model, batch)
    parts = figures["reward_LikelihoodReward"] + 2 * figures["reward_NextStateReward"]
    assert figures["reward"] == pytest.approx(parts, abs=1e-4)
