"""``swirl plan``: what it prints, offline, and what ``micro_batch: auto`` makes of it."""

import re
import socket
from pathlib import Path

import pytest
import torch

from swirl_lightning.commands import main
from swirl_lightning.engine import MicroBatchSizes
from swirl_lightning.engine.micro_batches import ALL_AT_ONCE
from swirl_lightning.modules import swirl
from swirl_lightning.modules.schedule import Stage
from swirl_lightning.plan.page import SHARE
from swirl_lightning.plan.sizes import choose, parse_bytes
from swirl_lightning.types import InputError

CONFIGS = Path(__file__).parents[2] / "configs"
BASE = "--model.base.init_args"
PASSES = {
    "sft": 2, "vim": 5, "elbo": 4, "evaluation": 4,
}  # fmt: skip


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No network, no data file, no GPU."""

    def refuse(*args, **kwargs):
        raise AssertionError("swirl plan asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def plan(capsys):
    """Runs ``swirl plan`` on a shipped configuration; returns the exit code and the page."""

    def run(config, *options):
        code = main(["plan", "--config", str(CONFIGS / f"{config}.yaml"), *options])
        return code, capsys.readouterr().out

    return run


def peak(page):
    return float(re.search(r"^peak ([\d.]+) GiB", page, re.MULTILINE)[1])


def chosen(page):
    found = re.search(r"auto chooses rows at a time: generation (\w+), scoring (\w+), update (\w+)", page)
    return [None if size == "all" else int(size) for size in found.groups()]


@pytest.mark.parametrize(
    ("config", "memory", "options"),
    [
        ("webtool", 24, ()),
        ("webtool", 24, (f"{BASE}.name", "Qwen/Qwen2.5-7B-Instruct")),
        ("webtool-12gb", 12, ()),
    ],
)
def test_shipped_settings_fit_their_gpu(plan, config, memory, options):
    code, page = plan(config, "--gpu_memory", f"{memory}GiB", *options)
    assert code == 0
    assert f"fits in {memory}.0 GiB" in page
    assert 0.5 * memory < peak(page) <= SHARE * memory
    assert all(size is None or size > 1 for size in chosen(page))


def test_the_page_has_every_pass_and_its_parts_add_up(plan):
    _, page = plan("webtool", "--gpu_memory", "24GiB")
    head, *lines = page.splitlines()
    assert head.split()[2:] == [
        "base", "adapters", "optimiser", "cache", "activations", "head", "device", "peak"
    ]  # fmt: skip
    phase, count = "", dict.fromkeys(PASSES, 0)
    for line in lines[: lines.index("")]:
        if not line.startswith(" "):
            phase = line
            continue
        count[phase] += 1
        *parts, total = (float(cell.replace("-", "0")) for cell in line[44:].split())
        assert len(parts) == 7
        assert sum(parts) == pytest.approx(total, abs=0.05)
    assert count == PASSES


def test_what_does_not_fit_is_told_what_would(plan):
    code, page = plan("webtool", "--gpu_memory", "10GiB", f"{BASE}.gradient_checkpointing", "false")
    assert code == 1
    assert "does not fit in 10.0 GiB" in page
    advice = page[page.index("what would:") :]
    options = [line.split()[:2] for line in advice.splitlines() if line.startswith("  --")]
    assert options
    for option in options:  # and what it says is so
        base = () if "gradient" in option[0] else (f"{BASE}.gradient_checkpointing", "false")
        assert plan("webtool", "--gpu_memory", "10GiB", *base, *option)[0] == 0


def test_a_7b_model_does_not_fit_beside_full_weights(plan):
    code, page = plan(
        "webtool", "--gpu_memory", "12GiB", f"{BASE}.name", "Qwen/Qwen2.5-7B-Instruct", f"{BASE}.quantize", "none"
    )
    assert code == 1
    assert "quantize nf4" in page


def test_a_given_micro_batch_is_planned_with(plan):
    _, page = plan("webtool", "--gpu_memory", "24GiB", "--model.micro_batch", "2")
    small = peak(page)
    assert "  2/128" in page
    code, page = plan("webtool", "--gpu_memory", "24GiB", "--model.micro_batch", "128")
    assert code == 1
    assert peak(page) > 5 * small


def test_less_memory_means_smaller_micro_batches(plan):
    sizes = [chosen(plan("webtool", "--gpu_memory", f"{n}GiB")[1]) for n in (12, 24, 48, 2000)]
    updates = [size[2] or 10**6 for size in sizes]
    assert updates == sorted(set(updates))
    assert sizes[-1] == [None, None, None]


def test_a_gpu_that_is_not_there(plan, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["plan", "--config", str(CONFIGS / "webtool.yaml")]) == 2
    assert "--gpu_memory 24GiB" in capsys.readouterr().err
    assert plan("quickstart")[0] == 0  # on this machine's own memory


@pytest.mark.parametrize(
    ("text", "size"), [("24GiB", 24 * 2**30), ("24", 24 * 2**30), ("24GB", 24 * 10**9), (" 1.5 mib ", 1.5 * 2**20)]
)
def test_sizes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "many", "24 apples", "-3GiB"])
def test_what_is_no_size(text):
    with pytest.raises(InputError, match="--gpu_memory"):
        parse_bytes(text)


def planned(module, stages, batch_size):
    """The passes and the memory of a run."""
    plan = module.plan(stages, batch_size, batch_size, torch.device("cpu"), 2**40)
    return plan.passes, plan.memory


def test_chosen_sizes_are_the_largest_that_fit(toy_swirl):
    module = toy_swirl(fwm={"group_size": 8, "max_new_tokens": 40}, max_tokens=2048)
    works, memory = planned(module, [Stage("sft"), Stage("vim"), Stage("elbo")], 16)
    every = [work for group in works.values() for work in group]
    room = 0.3 * max(memory.peak(work, work.rows).total for work in every)
    sizes = choose(memory, every, room)
    assert 1 < (sizes.update or 64) < 64
    updates = [work for work in every if work.kind == "update"]
    assert all(memory.peak(work, sizes.update).total <= room for work in updates)
    assert any(memory.peak(work, sizes.update + 1).total > room for work in updates)


def test_more_rows_never_take_less(toy_swirl):
    module = toy_swirl(fwm={"group_size": 8, "max_new_tokens": 40, "top_p": 0.9}, max_tokens=2048)
    passes, memory = planned(module, [Stage("sft"), Stage("vim"), Stage("elbo")], 4)
    for works in passes.values():
        for work in works:
            totals = [memory.peak(work, rows).total for rows in (*range(1, 5), *range(8, work.rows + 1, 8))]
            assert totals == sorted(totals), work


def test_a_run_takes_what_is_chosen(ready_swirl, monkeypatch):
    module, _ = ready_swirl()
    assert module.fwm.policy.sizes == module.idm.reference.sizes == ALL_AT_ONCE
    passes, memory = planned(module, [Stage("vim")], 3)
    (work,) = (w for w in passes["vim"] if w.name == "fwm learns")
    room = memory.peak(work, 4).total
    most = max(rows for rows in range(1, work.rows + 1) if memory.peak(work, rows).total <= room)
    assert 4 <= most < work.rows
    monkeypatch.setattr(swirl, "available_bytes", lambda device: room / SHARE)
    module, _ = ready_swirl()
    assert module.fwm.policy.sizes.update == most
    monkeypatch.setattr(swirl, "available_bytes", lambda device: 0)
    module, _ = ready_swirl()
    assert module.fwm.policy.sizes == MicroBatchSizes(1, 1, 1)
    module, _ = ready_swirl(micro_batch=3)
    assert module.idm.policy.sizes == MicroBatchSizes(3, 3, 3)


@pytest.mark.parametrize("role", ["fwm", "idm"])
@pytest.mark.parametrize(("longest", "written"), [(1, 1), (0, 1), (2, 3), (40, 41), (1024, 10**9)])
def test_lengths_that_hold_no_text_are_refused(role, longest, written, toy_swirl):
    key = "max_tokens" if longest < 2 else rf"{role}\.max_new_tokens .*: found {written}, expected at most {longest}"
    with pytest.raises(InputError, match=rf"model\.{key}"):
        toy_swirl(
            max_tokens=longest,
            **{"fwm": {"max_new_tokens": 1}, "idm": {"max_new_tokens": 1}} | {role: {"max_new_tokens": written}},
        )


def test_no_advice_that_would_be_refused(toy_swirl):
    """A max_tokens below max_new_tokens is none, and no pass has a prompt of nothing."""
    for longest, written in ((2, 2), (3, 1), (400, 300)):
        module = toy_swirl(max_tokens=longest, fwm={"max_new_tokens": written}, idm={"max_new_tokens": 1})
        page = module.plan([Stage("sft"), Stage("vim")], 4, 4, torch.device("cpu"), 1.0).page()
        assert "what would:" in page
        assert not [n for n in re.findall(r"--model.max_tokens (\d+)", page) if int(n) < max(written, 2)]


def test_a_micro_batch_of_nothing_is_refused(toy_swirl):
    with pytest.raises(InputError, match=r"model\.micro_batch .*: found 0"):
        toy_swirl(micro_batch=0)
