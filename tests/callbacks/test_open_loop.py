"""Open-loop scores with each evaluation of the test split: their values, where they show, what they need."""

import json
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from swirl_lightning.callbacks import OpenLoop
from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.metrics.pictures import picture_metrics
from swirl_lightning.pictures import place_picture
from swirl_lightning.types import InputError, Transition

THINGS = ("coin", "door", "lamp")

MODULE = SimpleNamespace(device=torch.device("cpu"), codec=SimpleNamespace(compared=list))  # of texts


def walk(episode, steps):
    """One thing after the other is switched, so that every step begins where the one before it ended."""
    facts, transitions = dict.fromkeys(THINGS, "off"), []
    for step in range(steps):
        thing = THINGS[(step + len(episode)) % 3]
        before = dict(facts)
        facts[thing] = "on" if facts[thing] == "off" else "off"
        x, y = ("\n".join(f"{name} {value}" for name, value in both.items()) for both in (before, facts))
        transitions.append(Transition(episode, step, x, y, f"switch {thing}"))
    return transitions


class WalkData(TransitionDataModule):
    """Short walks, in memory; those of the test split have the lengths given."""

    lengths = (4, 3, 2)

    def load(self, split):
        lengths = {"test": self.lengths, "validation": (2,)}.get(split, (4,))
        return [t for n, length in enumerate(lengths) for t in walk(f"{split}-{n}", length)]


@pytest.fixture
def walk_data():
    return WalkData(batch_size=3, eval_batch_size=3)


@pytest.fixture
def said(monkeypatch):
    """The answers are the truth, but for what ``spoil`` makes of a transition; also what was asked."""

    def make(spoil=lambda t: t.next_state):
        asked = []

        def answer(model, chains):
            asked.append([[(t.episode, t.step) for t in chain] for chain in chains])
            return [[spoil(t) for t in chain] for chain in chains]

        monkeypatch.setattr("swirl_lightning.callbacks.open_loop.open_loop", answer)
        return asked

    return make


def set_up(callback, data, trainer, stage="fit"):
    trainer.datamodule = data
    callback.setup(trainer, None, stage)
    return callback


def alone(rank=0, world_size=1):
    plugin = SimpleNamespace(val_step_context=nullcontext)
    return SimpleNamespace(global_rank=rank, world_size=world_size, precision_plugin=plugin)


def test_every_step_is_scored_over_the_chains_that_are_so_long(walk_data, toy_trainer, said):
    """Three chains of 4, 3 and 2 steps; the first is lost at its second step, the last copies its start."""
    first = {t.episode: t.state for t in walk_data.load("test") if t.step == 0}
    said(
        lambda t: {"test-0": t.next_state if t.step == 0 else None, "test-2": first[t.episode]}.get(
            t.episode, t.next_state
        )
    )
    callback = set_up(OpenLoop(), walk_data, toy_trainer("sft"))
    values = callback._measure(alone(), MODULE)
    steps = [
        {
            name: values.pop(f"fwm/open_loop_{k}/{name}")
            for name in ("exact_match", "token_f1", "delta_f1", "copy_token_f1")
        }
        for k in (1, 2, 3, 4)
    ]
    assert not values
    assert [step["exact_match"] for step in steps] == pytest.approx([2 / 3, 1 / 3, 1 / 2, 0])
    assert [step["delta_f1"] for step in steps] == pytest.approx([2 / 3, 1 / 3, 1 / 2, 0])
    assert [step["token_f1"] for step in steps] == pytest.approx([(1 + 1 + 5 / 6) / 3, (0 + 1 + 4 / 6) / 3, 1 / 2, 0])
    assert [step["copy_token_f1"] for step in steps] == pytest.approx([5 / 6, 4 / 6, 3 / 6, 4 / 6])


def test_pictures_are_scored_by_step(toy_trainer, said, tmp_path):
    """Three lamps go on one after the other; what is said stops at the second one, and one chain is lost."""

    def picture(lit):
        cells = np.zeros((4, 3, 4, 3), np.uint8)
        cells[:, :lit] = 200
        return place_picture(tmp_path, cells.reshape(4, 12, 3))

    states = [picture(lit) for lit in range(4)]

    class Lamps(TransitionDataModule):
        def load(self, split):
            return [
                Transition(f"{split}-{n}", k, states[k], states[k + 1], "light one") for n in range(2) for k in range(3)
            ]

        def metrics(self):
            return picture_metrics(4)

    said(lambda t: None if t.episode == "test-1" and t.step else states[min(t.step + 1, 2)])
    values = set_up(OpenLoop(), Lamps(), toy_trainer("sft"))._measure(alone(), MODULE)
    found = {
        name: [values[f"fwm/open_loop_{k}/{name}"] for k in (1, 2, 3)]
        for name in ("exact_match", "exact_cells", "changed_cells", "psnr")
    }
    assert found["exact_match"] == pytest.approx([1, 1 / 2, 0])
    assert found["exact_cells"] == pytest.approx([1, 1 / 2, 2 / 3 / 2])
    assert found["changed_cells"] == pytest.approx([1, 1 / 2, 4 / 5 / 2])  # since the start: two of three cells
    assert found["psnr"] == pytest.approx([60, 30, 10 * np.log10(255**2 * 3 / 200**2) / 2], abs=1e-4)


def test_in_a_run(walk_data, toy_trainer, toy_swirl, said, capsys):
    """After every stage but pretraining, in results.json, the report, the closing table, the log and ``swirl test``."""
    asked = said()
    trainer = toy_trainer("pretrain", "sft", "vim", updates=1, limit_val_batches=None, callbacks=[OpenLoop(steps=3)])
    model = toy_swirl()
    trainer.fit(model, datamodule=walk_data)
    assert len(asked) == 2
    pretrained, warm, vim = json.loads((trainer.run_dir / "results.json").read_text())["stages"]
    assert not any("open_loop" in name for name in [*pretrained["metrics"], *warm["validation"]])
    for stage in (warm, vim):
        found = {name: value for name, value in stage["metrics"].items() if "open_loop" in name}
        assert len(found) == 12
        assert found["fwm/open_loop_3/delta_f1"] == 1
        assert "fwm/exact_match" in stage["metrics"]
    assert trainer.callback_metrics["test/fwm/open_loop_1/exact_match"] == 1
    assert "exact match, step 3" in capsys.readouterr().out
    assert "exact match, step 3" in (trainer.run_dir / "report.html").read_text()
    trainer.test(model, datamodule=walk_data, verbose=False)
    assert len(asked) == 3
    assert model.results["test"]["fwm/open_loop_3/exact_match"] == 1
    trainer.validate(model, datamodule=walk_data, verbose=False)
    assert len(asked) == 3


def test_training_does_not_notice(walk_data, toy_trainer, toy_swirl):
    """With the real rollouts, whose tokens and random numbers are no part of an update."""
    rows = []
    for callbacks in ([], [OpenLoop()]):
        trainer = toy_trainer("sft", "vim", folder=str(len(callbacks)), limit_val_batches=None, callbacks=callbacks)
        model = toy_swirl()
        trainer.fit(model, datamodule=WalkData(batch_size=3))
        history = [json.loads(row) for row in (trainer.run_dir / "history.jsonl").read_text().splitlines()]
        rows.append([{k: v for k, v in row.items() if "share" not in k and "second" not in k} for row in history])
        assert ("fwm/open_loop_2/delta_f1" in model.results["test"]) == bool(callbacks)
    assert rows[0] == rows[1]


def test_chains_are_the_same_ones_from_the_whole_split(walk_data, toy_trainer):
    limited = WalkData(eval_limit=1, seed=7)
    chains = set_up(OpenLoop(), walk_data, toy_trainer("sft"))._chosen
    assert set_up(OpenLoop(), limited, toy_trainer("sft"))._chosen == chains
    assert sorted(len(chain) for chain in chains) == [2, 3, 4]
    assert set_up(OpenLoop(chains=2), walk_data, toy_trainer("sft"))._chosen == chains[:2]
    walk_data.lengths = (24, 24, 24)
    few = set_up(OpenLoop(chains=3), walk_data, toy_trainer("sft"))._chosen
    assert {chain[0].episode for chain in few} == {"test-0", "test-1", "test-2"}


def share(rank, callback, asked, meeting, expected, failures):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    found = callback._measure(alone(rank, 2), MODULE)
    if found != expected or len(asked[-1]) != 2 - rank:
        failures.put((rank, found, asked))
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_two_processes_share_the_chains(walk_data, toy_trainer, said, tmp_path):
    asked = said(lambda t: t.state if t.step % 2 else t.next_state)
    walk_data.lengths = (4, 2, 2)  # one of the two has no chain that reaches the third step
    callback = set_up(OpenLoop(), walk_data, toy_trainer("sft"))
    expected = callback._measure(alone(), MODULE)
    context = mp.get_context("fork")
    failures = context.Queue()
    arguments = (callback, asked, tmp_path / "meeting", expected, failures)
    processes = [context.Process(target=share, args=(rank, *arguments)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert failures.empty()


def test_held_out_episodes_with_gaps_are_told_before_the_run(toy_trainer, toy_swirl, monkeypatch):
    load = WalkData.load
    monkeypatch.setattr(WalkData, "load", lambda self, split: [t for t in load(self, split) if t.step % 2 == 0])
    trainer = toy_trainer("sft", callbacks=[OpenLoop()], limit_val_batches=None)
    with pytest.raises(
        InputError,
        match=r"data: test: the held-out episodes have gaps \(episode 'test-0' step 2 does not begin with the state "
        r"that step 0 ends with\), expected steps that follow one another; keep every step",
    ):
        trainer.fit(toy_swirl(), datamodule=WalkData())
    trainer.validate(toy_swirl(), datamodule=WalkData(), verbose=False)  # which rolls nothing out


def test_episodes_of_one_step_are_told(walk_data, toy_trainer):
    walk_data.lengths = (1, 1)
    with pytest.raises(InputError, match=r"the held-out episodes have gaps \(no episode has two steps\)"):
        set_up(OpenLoop(), walk_data, toy_trainer("sft"), "test")


def test_a_first_step_that_is_too_long_is_told_before_the_run(toy_trainer, toy_swirl, monkeypatch):
    """Also where ``eval_limit`` leaves it out of the other metrics."""
    limited, load = WalkData(eval_limit=1), WalkData.load
    limited.setup()
    facts = "\n".join(f"fact {n:03d}" for n in range(200))

    def lengthen(t):
        return replace(t, state=f"{t.state}\n{facts}", next_state=f"{t.next_state}\n{facts}")

    fine = ("labelled-0", "state_only-0", "validation-0", limited.test[0].episode)
    monkeypatch.setattr(
        WalkData, "load", lambda self, split: [t if t.episode in fine else lengthen(t) for t in load(self, split)]
    )
    model = toy_swirl(max_tokens=300)
    toy_trainer("sft", folder="without").fit(model, datamodule=WalkData(eval_limit=1))
    with pytest.raises(InputError, match=r"episode 'test-\d' step 0: \d+ tokens in all .* expected at most 300"):
        toy_trainer("sft", callbacks=[OpenLoop()]).fit(toy_swirl(max_tokens=300), datamodule=WalkData(eval_limit=1))
    left = OpenLoop()
    trainer = toy_trainer("sft", callbacks=[left], folder="skip")
    trainer.fit(toy_swirl(max_tokens=300, skip_too_long=True), datamodule=WalkData(eval_limit=1))
    assert {chain[0].episode for chain in left._chosen} == {limited.test[0].episode}
    fine = fine[:3]
    with pytest.raises(InputError, match=r"OpenLoop: found no chain whose first step has at most .* \(300\) tokens"):
        toy_trainer("sft", callbacks=[OpenLoop()], folder="none").fit(
            toy_swirl(max_tokens=300, skip_too_long=True), datamodule=WalkData(eval_limit=1)
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 1}, r"OpenLoop\.steps: found 1, expected at least 2"),
        ({"chains": 0}, r"OpenLoop\.chains: found 0, expected at least 1"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        OpenLoop(**options)
