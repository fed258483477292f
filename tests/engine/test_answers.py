"""Answers of some ids alone, of known length, or with ids that nobody chooses: as a naive computation has them.

The reference is the whole text through the Hugging Face model, its logits cut to the allowed ids, and nothing where an
id is forced. In both forms of the engine, values and gradients, in float32, to 1e-4.
"""

import pytest
import torch
from peft import LoraConfig

from swirl_lightning.engine import GREEDY, PlainTexts, Sampling, SharedPrompts
from swirl_lightning.models import FullWeights, LoraWeights, Policy
from swirl_lightning.modules.learning import Lesson
from swirl_lightning.types import Answer, InputError

FIRST, LAST = 20, 40
ROW_END = 5
PICTURE = Answer(allowed=(FIRST, LAST), length=6, forced={2: ROW_END, 5: 6})
CHANGES = Answer(end=LAST, allowed=(FIRST, LAST))
PROMPTS = [(5, 9, 3, 8), (7,), (4, 21, 7, 30, 2)]
PICTURES = [(FIRST, LAST, ROW_END, 33, 21, 6), (LAST, LAST, ROW_END, FIRST, 22, 6), (FIRST, LAST, ROW_END, 33, 25, 6)]
BEFORE = [(1, 2), (), (1,)]  # ids between a prompt and the scored ones, as in a reward's rows

both_forms = pytest.mark.parametrize("engine", [SharedPrompts, PlainTexts])


def weights_of(model, kind):
    if kind == "full":
        return FullWeights(model, ["a"])
    weights = LoraWeights(model, ["a"], LoraConfig(r=3, lora_alpha=6, target_modules="all-linear", lora_dropout=0.0))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in weights.named("a").values():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return weights


def naive(logits, targets, answer, temperature=1.0, support=None):
    """Log-prob of each target and the entropy, nothing at forced places."""
    logps, entropies = [], []
    for t, (row, target) in enumerate(zip(logits, targets, strict=True)):
        if t in answer.forced:
            logps.append(torch.zeros(()))
            entropies.append(torch.zeros(()))
            continue
        kept = [i for i in range(FIRST, LAST + 1) if support is None or i in support[t].tolist()]
        logp = torch.log_softmax(row[kept] / temperature, -1)
        logps.append(logp[kept.index(target)])
        entropies.append(-(logp.exp() * logp).sum())
    return torch.stack(logps), torch.stack(entropies)


@both_forms
@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize(
    ("kind", "weights_kind"), [("llama", "full"), ("qwen2", "full"), ("phi", "full"), ("gemma", "lora")]
)
def test_values_and_gradients(kind, weights_kind, restricted, engine, tiny_model, plain_logits):
    """First and last code among them; a tied head, and one with a bias."""
    weights = weights_of(tiny_model(kind), weights_kind)
    policy, model = Policy(weights, "a", PICTURE, engine), weights.activate("a")
    prompt_of, rows = torch.tensor([0, 2, 0]), [b + p for b, p in zip(BEFORE, PICTURES, strict=True)]
    temperature, support = 1.0, None
    if restricted:
        temperature = 0.7
        support = torch.full((3, 6, 4), -1)
        for n, picture in enumerate(PICTURES):
            for t, target in enumerate(picture):
                if t not in PICTURE.forced:
                    support[n, t, : 3 + n % 2] = torch.tensor([target, *(i for i in (24, 31, 38, 39) if i != target)])[
                        : 3 + n % 2
                    ]
    scores = policy.logprobs(
        PROMPTS, prompt_of, rows, [6] * 3, temperature=temperature, support=support, plain=True
    )  # fmt: skip
    coefficient = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad(
        (coefficient * (scores.logp + 0.5 * scores.plain_logp)).sum(), policy.parameters(), allow_unused=True
    )
    total = 0.0
    for n, p in enumerate(prompt_of.tolist()):
        logits = plain_logits(model, PROMPTS[p], rows[n])[-6:]
        logp, _ = naive(logits, PICTURES[n], PICTURE, temperature, None if support is None else support[n])
        whole, entropy = naive(logits, PICTURES[n], PICTURE)
        torch.testing.assert_close(scores.logp[n], logp, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(scores.plain_logp[n], whole, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(scores.entropy[n], entropy, atol=1e-4, rtol=1e-4)
        total = total + (coefficient[n] * (logp + 0.5 * whole)).sum()
    assert scores.mask.tolist() == [[True, True, False, True, True, False]] * 3
    expected = torch.autograd.grad(total, policy.parameters(), allow_unused=True)
    for a, b in zip(ours, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert (a - b).norm() <= 1e-4 * b.norm() + 1e-6


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(0.7), Sampling(0.8, top_p=0.9), Sampling(1.3, top_k=5), GREEDY]
)
def test_what_is_drawn(sampling, tiny_model, plain_logits):
    """Allowed ids alone, forced ones in their places, both forms alike, with the log-probs that scoring gives."""
    weights = FullWeights(tiny_model("qwen2"), ["a"])
    options = {"group_size": 5, "max_tokens": 99, "sampling": sampling}
    ours, theirs = (
        Policy(weights, "a", PICTURE, engine).generate(PROMPTS, [1, 2, 3], **options)
        for engine in (SharedPrompts, PlainTexts)
    )
    assert ours.completions == theirs.completions
    torch.testing.assert_close(ours.logp, theirs.logp, atol=1e-4, rtol=1e-4)
    for drawn in ours.completions:
        assert PICTURE.row(drawn) == drawn  # of the right length, and each id where it may stand
    assert ours.finished.all()
    assert ours.mask.tolist() == [[True, True, False, True, True]] * len(ours.completions)
    rows, lengths = ours.sampled()
    assert lengths == [5] * len(rows)  # behind the last choice nothing is scored
    assert [row == drawn[:5] for row, drawn in zip(rows, ours.completions, strict=True)] == [True] * len(rows)
    policy = Policy(weights, "a", PICTURE)
    again = policy.logprobs(
        PROMPTS, ours.prompt_of, rows, lengths, temperature=sampling.temperature or 1.0, support=ours.support
    )
    torch.testing.assert_close(again.logp.detach(), ours.logp, atol=1e-4, rtol=1e-4)
    if sampling in (Sampling(), GREEDY):
        for n, p in enumerate(ours.prompt_of.tolist()):
            logits = plain_logits(weights.activate("a"), PROMPTS[p], ours.completions[n])
            torch.testing.assert_close(
                ours.logp[n], naive(logits, ours.completions[n], PICTURE)[0][:5].detach(), atol=1e-4, rtol=1e-4
            )
            if sampling is GREEDY:
                best = [int(row[FIRST : LAST + 1].argmax()) + FIRST for row in logits]
                assert [best[t] for t in (0, 1, 3, 4)] == [ours.completions[n][t] for t in (0, 1, 3, 4)]


@both_forms
def test_the_first_and_the_last_code_can_be_drawn(engine, tiny_model):
    """And each as often as its probability says, which words that are more probable do not lower."""
    model = tiny_model()
    weights = FullWeights(model, ["a"])
    logits = weights.activate("a")(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1].detach()
    probs = torch.softmax(logits[FIRST : LAST + 1] / 4, -1)
    drawn = Policy(weights, "a", Answer(allowed=(FIRST, LAST), length=1), engine).generate(
        PROMPTS[:1], [5], group_size=4000, max_tokens=1, sampling=Sampling(4.0)
    )
    share = torch.zeros(LAST - FIRST + 1)
    for (token,), count in zip(drawn.completions, drawn.counts.tolist(), strict=True):
        share[token - FIRST] = count / 4000
    assert share[0] > 0
    assert share[-1] > 0
    error = (probs * (1 - probs) / 4000).sqrt()
    assert ((share - probs).abs() < 4 * error).all()


@both_forms
def test_an_end_token_among_the_allowed(engine, tiny_model):
    """It ends a completion, and its log-prob counts."""
    policy = Policy(FullWeights(tiny_model(), ["a"]), "a", CHANGES, engine)
    drawn = policy.generate(PROMPTS, [1, 2, 3], group_size=30, max_tokens=8, sampling=Sampling(3.0))
    assert {i for ids in drawn.completions for i in ids} <= set(range(FIRST, LAST))
    assert 0 < int(drawn.finished.sum()) < len(drawn.completions)
    for n, ids in enumerate(drawn.completions):
        assert int(drawn.mask[n].sum()) == len(ids) + int(drawn.finished[n])
        assert len(ids) == 8 or drawn.ids[n, len(ids)] == LAST


@both_forms
def test_what_cannot_be_an_answer_is_refused(engine, tiny_model):
    policy = Policy(FullWeights(tiny_model(), ["a"]), "a", PICTURE, engine)
    word_in_a_picture = (FIRST, 19, ROW_END, 33, 21, 6)
    beyond_the_codes = (FIRST, 41, ROW_END, 33, 21, 6)
    no_row_end = (FIRST, LAST, FIRST, 33, 21, 6)
    for wrong, told in (
        (word_in_a_picture, r"found the id 19 at place 1 of an answer, expected \(20, 40\)"),
        (beyond_the_codes, r"found the id 41 at place 1 of an answer, expected \(20, 40\)"),
        (no_row_end, "found the id 20 at place 2 of an answer, expected 5"),
    ):
        for ask in (
            lambda wrong=wrong: policy.logprobs(PROMPTS, torch.tensor([0]), [(1, *wrong)], [6]),
            lambda wrong=wrong: policy.examine(PROMPTS[:1], [wrong], 6),
            lambda wrong=wrong: PICTURE.row(wrong),
        ):
            with pytest.raises(ValueError, match=told):
                ask()
    for other_size in (PICTURES[0][:3], PICTURES[0] + PICTURES[1]):
        with pytest.raises(ValueError, match=rf"found an answer of {len(other_size)} ids, expected 6"):
            policy.examine(PROMPTS[:1], [other_size], 6)
    policy.logprobs(PROMPTS, torch.tensor([0]), [(19, 41, *PICTURES[0])], [6])  # what is only read may be any id


@pytest.mark.parametrize(
    "wrong",
    [
        {"end": 1, "length": 4},
        {"end": 1, "allowed": (2, 3)},
        {"forced": {0: 1}},
        {"length": 2, "forced": {2: 1}},
    ],
)
def test_there_is_no_such_answer(wrong):
    with pytest.raises(ValueError, match="Answer: found"):
        Answer(**wrong)


@pytest.fixture
def pictures(ready_swirl):
    """A toy SWIRL whose FWM writes pictures."""

    def make(**options):
        model, _ = ready_swirl(**options)
        for policy in (model.fwm.policy, model.fwm.reference):
            policy.answer = PICTURE
        return model

    return make


@pytest.mark.parametrize("engine", ["auto", "plain"])
def test_the_supervised_loss_is_the_mean_over_what_is_chosen(pictures, plain_logits, engine):
    model = pictures(engine=engine)
    model.fwm.study([Lesson(PROMPTS, PICTURES)])
    ours = [p.grad.clone() for p in model.fwm.policy.parameters()]
    network = model.weights.activate("fwm")
    logps = [
        naive(plain_logits(network, prompt, picture), picture, PICTURE)[0]
        for prompt, picture in zip(PROMPTS, PICTURES, strict=True)
    ]
    expected = torch.autograd.grad(-torch.cat(logps).sum() / 12, model.fwm.policy.parameters())
    for a, b in zip(ours, expected, strict=True):
        assert (a - b).norm() <= 1e-4 * b.norm() + 1e-6


@pytest.mark.parametrize("engine", ["auto", "plain"])
def test_a_grpo_update(pictures, plain_logits, engine):
    """At the policy that has sampled, the gradient is that of the advantages times the log-probs of what was chosen."""
    model = pictures(engine=engine, fwm={"loss": "dapo", "beta": 0.3, "group_size": 6, "advantage_scale": "none"})
    role, network = model.fwm, model.weights.activate("fwm")
    model.weights.copy("fwm", role.reference.name)
    rollouts = role.rollout(PROMPTS, [1, 2, 3])
    rewards = torch.randn(len(rollouts.completions), generator=torch.Generator().manual_seed(0))
    experience = role.experience(rollouts, rewards, PROMPTS)
    torch.testing.assert_close(experience.ref_logp, rollouts.logp, atol=1e-4, rtol=1e-4)
    update = role.reinforce(experience)
    ours = [p.grad.clone() for p in role.policy.parameters()]
    total = 0.0
    for n, p in enumerate(rollouts.prompt_of.tolist()):
        completion = rollouts.completions[n]
        logp, _ = naive(plain_logits(network, PROMPTS[p], completion), completion, PICTURE)
        total = total - rollouts.counts[n] * experience.advantages[n] * logp.sum()
    expected = torch.autograd.grad(total / (4 * 18), role.policy.parameters())
    for a, b in zip(ours, expected, strict=True):
        assert (a - b).norm() <= 1e-3 * b.norm() + 1e-6
    assert update.kl == pytest.approx(0, abs=1e-5)


def test_an_answer_longer_than_max_new_tokens_is_refused(pictures):
    model = pictures()
    model.fwm.max_new_tokens = 5
    with pytest.raises(InputError, match=r"model\.fwm\.max_new_tokens: found 5, expected at least 6, of which every"):
        model.fwm.begin(model.fwm.policy, model.fwm.reference)
