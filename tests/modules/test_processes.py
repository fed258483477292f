"""A batch shared out over two processes has the gradient of the whole batch; the release's did not."""

from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.models import ScratchLM
from swirl_lightning.modules.learning import Lesson
from swirl_lightning.modules.preparation import codec_of
from swirl_lightning.modules.processes import average_gradients, mean_figures

SHARES = ([0, 1], [2, 3])
COMPLETIONS = [[(40,), (41, 42)], [(), (40, 41, 42)], [(43, 44, 45, 46, 47), (48,)], [(), (49,)]]
REWARDS = torch.tensor([[-1.0, -2.0], [-0.2, -4.0], [-3.0, -2.9], [-0.5, -0.1]])


def rollouts_of(prompts, share, eos):
    """Two distinct completions for each prompt of the share, lengths differing between the shares."""
    rows = [(i, (*completion, eos)) for i, p in enumerate(share) for completion in COMPLETIONS[p]]
    longest = max(len(row) for _, row in rows)
    mask = torch.tensor([[t < len(row) for t in range(longest)] for _, row in rows])
    return Rollouts(
        prompts=tuple(prompts[p] for p in share),
        completions=tuple(row[:-1] for _, row in rows),
        prompt_of=torch.tensor([i for i, _ in rows]),
        row_of=torch.arange(len(rows)).reshape(-1, 2),
        ids=torch.tensor([(*row, *(eos,) * (longest - len(row))) for _, row in rows]),
        mask=mask,
        finished=torch.ones(len(rows), dtype=torch.bool),
        logp=torch.zeros(len(rows), longest),
    )


def gradients(model, prompts, share):
    """Gradients of every loss on the prompts of all processes, and figures, given one process's share, by name."""
    role = model.fwm
    rollouts, rewards_N = rollouts_of(prompts, share, model.codec.eos), REWARDS[share].flatten()

    def gradient(accumulate, *args):
        for p in role.policy.parameters():
            p.grad = None
        accumulate(*args)
        average_gradients(role.policy.parameters())
        return torch.cat([p.grad.flatten() for p in role.policy.parameters()])

    results = {"sft": gradient(role.study, [Lesson(rollouts.prompts, [(40,) * (3 * p) for p in share])])}
    for kind in ("grpo", "dr_grpo", "dapo"):
        for scale in ("group", "batch", "none"):
            role.grpo = replace(role.grpo, loss=kind, advantage_scale=scale)
            experience = role.experience(rollouts, rewards_N, rollouts.prompts)
            results[f"{kind} {scale}"] = gradient(role.reinforce, experience)
            figures = mean_figures(role.reinforce(experience)._asdict(), torch.device("cpu"), summed=())
            results[f"{kind} {scale} figures"] = torch.tensor(list(figures.values()))
    return results


def work(rank, model, data, prompts, meeting, expected, codec, failures):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    for name, gradient in gradients(model, prompts, SHARES[rank]).items():
        error = (gradient - expected[name]).norm() / expected[name].norm()
        if not error < (1e-6 if "figures" in name else 1e-4):  # of so young a model all tokens have almost one entropy
            failures.put(f"rank {rank}: {name} differs by {error:g}")
    if made_by(rank, model, data) != codec:
        failures.put(f"rank {rank}: the codec is not the first process's")
    dist.destroy_process_group()


def made_by(rank, model, data):
    """The codec that a process gets whose own would be another."""
    return codec_of(ScratchLM(vocab_size=280 + 5 * rank), data, model.form).saved()


def test_two_processes_have_the_gradient_and_the_codec_of_one(phase_swirl, tmp_path):
    model, data = phase_swirl(scale=6.0, fwm={"beta": 0.2})
    codes = [model.codec.encode(t) for t in data.state_only[:4]]
    prompts = [model.codec.prompts().forward(code.x, (50,) * p) for p, code in enumerate(codes)]
    whole = gradients(model, prompts, [0, 1, 2, 3])
    assert len({round(float(g.norm()), 5) for name, g in whole.items() if "figures" not in name}) == 10

    context = mp.get_context("fork")
    failures = context.Queue()
    codec = made_by(0, model, data)
    assert made_by(1, model, data) != codec
    arguments = (model, data, prompts, tmp_path / "rendezvous", whole, codec, failures)
    processes = [context.Process(target=work, args=(rank, *arguments)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    found = [failures.get() for _ in range(failures.qsize())]
    if found:
        pytest.fail("\n".join(found))


def test_gradients_are_averaged_in_one_call(phase_swirl, monkeypatch):
    model, _ = phase_swirl()
    own = model.fwm.policy.parameters()
    for n, p in enumerate(own[1:]):
        p.grad = torch.full_like(p, float(n))
    sent = []
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda x: sent.append(x.numel()) or x.mul_(4))
    average_gradients(own)
    assert sent == [sum(p.numel() for p in own)]
    assert all(torch.equal(p.grad, torch.full_like(p, 2.0 * max(n - 1, 0))) for n, p in enumerate(own))
