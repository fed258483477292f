"""The IDM's actions in a state-only log: which rows get one, how sure it is, and what is left when it goes wrong."""

import errno
import gzip
import json
import logging
from contextlib import contextmanager
from importlib import import_module

import pyarrow
import pyarrow.parquet
import pytest
import torch

from swirl_lightning.environments.log import LogDataModule
from swirl_lightning.environments.rows import read_rows
from swirl_lightning.modules.grpo_mixin import target_logprobs
from swirl_lightning.trained.label import Counts, label, name_actions, scores_path
from swirl_lightning.types import InputError, Transition

label_module = import_module("swirl_lightning.trained.label")
LONG = {"episode": "long", "step": 0, "state": "\n".join(f"thing{n:02} on" for n in range(40)), "next_state": "a on"}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def add(path, *rows):
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def transitions_of(rows):
    return [Transition(row["episode"], row["step"], row["state"], row["next_state"]) for row in rows]


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.parquet"])
@pytest.mark.parametrize("source", ["log.jsonl", "log.jsonl.gz", "log.parquet"])
def test_log_is_the_same_with_actions(model, state_only, rows, tmp_path, name, source):
    log = state_only.with_name(source)
    if source.endswith(".gz"):
        log.write_bytes(gzip.compress(state_only.read_bytes()))
    elif source.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(lines(state_only)), log)
    assert label(model, log, tmp_path / "labels" / name, batch_size=7) == Counts(24, 0, 0)
    expected = [Transition(**row) for row in rows]
    assert read_rows(tmp_path / "labels" / name, actions=True) == expected
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == sorted([name, "out.scores.jsonl"])


def test_result_is_a_labelled_log(model, state_only, tmp_path):
    label(model, state_only, tmp_path / "out.jsonl")
    data = LogDataModule(tmp_path / "out.jsonl")
    data.setup()
    assert {t.action for t in data.labelled} <= {"pull", "push", "light", "dim", "unlock", "bolt"}


def test_scores_are_log_probs_of_the_actions(model, state_only, rows, tmp_path):
    label(model, state_only, tmp_path / "out.jsonl")
    codes = [model.codec.encode(Transition(**row)) for row in rows]
    prompts = [model.idm.prompt(code, code.y) for code in codes]
    logp, mask = target_logprobs(model.idm.policy, prompts, [code.z for code in codes])
    scores = lines(scores_path(tmp_path / "out.jsonl"))
    assert [(s["line"], s["episode"], s["step"]) for s in scores] == [
        (n, row["episode"], row["step"]) for n, row in enumerate(rows, start=1)
    ]
    assert [s["action"] for s in scores] == [row["action"] for row in rows]
    assert [s["action_logp"] for s in scores] == pytest.approx(logp.sum(1).tolist(), abs=1e-4)
    means = (logp.sum(1) / mask.sum(1)).tolist()
    assert [s["action_logp_mean"] for s in scores] == pytest.approx(means, abs=1e-4)


def test_what_cannot_be_labelled_is_told_and_what_is_labelled_kept(model, state_only, rows, tmp_path, caplog):
    add(state_only, LONG, rows[0] | {"episode": "known", "action": "shove"})
    with caplog.at_level(logging.INFO, logger="swirl_lightning"):
        assert label(model, state_only, tmp_path / "out.jsonl", batch_size=5) == Counts(24, 1, 1)
    assert "24 rows labelled, 1 kept their action, 1 left out" in caplog.text
    written = read_rows(tmp_path / "out.jsonl", actions=True)
    assert len(written) == 25
    assert (written[-1].episode, written[-1].action) == ("known", "shove")
    *_, long, known = lines(scores_path(tmp_path / "out.jsonl"))
    assert (long["line"], long["episode"], long["action"], long["source"]) == (25, "long", None, "none")
    assert "expected at most 100" in long["reason"]
    assert known == {"line": 26, "episode": "known", "step": 0, "action": "shove", "source": "log"}


def test_an_action_without_end_is_no_action(model, state_only, rows, monkeypatch):
    monkeypatch.setattr(model.idm, "max_new_tokens", 1)
    labels = name_actions(model, transitions_of(rows[:2]))
    assert [given.action for given in labels] == [None, None]
    assert all(given.reason.startswith("found no end within 1 tokens") for given in labels)


def test_an_empty_action_is_no_action(model, rows, monkeypatch):
    monkeypatch.setattr(model.codec, "action", lambda ids: " ")
    (given,) = name_actions(model, transitions_of(rows[:1]))
    assert given == (None, None, None, "found an empty action")


def test_the_most_probable_candidate_is_taken(model, rows, monkeypatch):
    """Greedy decoding is made to fail; then samples are all there is, and the best of them wins."""
    transitions = transitions_of(rows[:4])
    greedy = name_actions(model, transitions)
    best = name_actions(model, transitions, samples=8, seeds=[5, 6, 7, 8])
    assert all(b.logp >= g.logp for b, g in zip(best, greedy, strict=True))
    generate = model.idm.policy.generate
    drawn = []

    def spoilt(prompts, seeds, *, group_size, max_tokens, sampling):
        rollouts = generate(prompts, seeds, group_size=group_size, max_tokens=max_tokens, sampling=sampling)
        if group_size == 1:
            rollouts.finished[:] = False
        else:
            rollouts.logp[:] = torch.linspace(-9, -1, len(rollouts.logp))[:, None] * rollouts.mask
            drawn.append(rollouts)
        return rollouts

    monkeypatch.setattr(model.idm.policy, "generate", spoilt)
    labels = name_actions(model, transitions, samples=8, seeds=[5, 6, 7, 8])
    (rollouts,) = drawn
    for p, given in enumerate(labels):
        rows_p = [n for n in range(len(rollouts.completions)) if rollouts.prompt_of[n] == p and rollouts.finished[n]]
        top = max(rows_p, key=lambda n: float(rollouts.logp[n].sum()))
        assert given.action == model.codec.action(rollouts.completions[top])
        assert given.logp == pytest.approx(float(rollouts.logp[top].sum()))
    assert {given.action for given in name_actions(model, transitions)} == {None}


def test_samples_of_a_row_depend_on_its_line_alone(model, state_only, tmp_path, monkeypatch):
    generate, seeds = model.idm.policy.generate, {3: [], 24: []}
    for size, drawn in seeds.items():

        def spy(prompts, seeds, *, group_size, drawn=drawn, **options):
            drawn += seeds if group_size > 1 else []
            return generate(prompts, seeds, group_size=group_size, **options)

        monkeypatch.setattr(model.idm.policy, "generate", spy)
        label(model, state_only, tmp_path / f"{size}.jsonl", samples=4, batch_size=size, seed=100)
    assert seeds[3] == seeds[24] == list(range(101, 125))


@pytest.fixture
def asked(model, monkeypatch):
    """How many rows the model has been asked about, batch by batch."""
    counts, generate = [], model.idm.policy.generate
    monkeypatch.setattr(
        model.idm.policy,
        "generate",
        lambda prompts, *args, **kw: counts.append(len(prompts)) or generate(prompts, *args, **kw),
    )
    return counts


def test_a_malformed_row_costs_no_label(model, state_only, tmp_path, asked):
    """Once it is mended, the same call goes on; what it writes is what an undisturbed one does."""
    out, log = tmp_path / "labels/out.jsonl", state_only.read_text()
    add(state_only, {"episode": "e"})
    with pytest.raises(
        InputError, match=r"log\.jsonl:25: step: missing.*; 20 labels are kept in .*out\.jsonl\.kept, and"
    ):
        label(model, state_only, out, batch_size=5)
    assert [path.name for path in out.parent.iterdir()] == ["out.jsonl.kept"]
    state_only.write_text(log)
    label(model, state_only, out, batch_size=5)
    assert asked == [5, 5, 5, 5, 4]
    label(model, state_only, tmp_path / "whole.jsonl", batch_size=5)
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert scores_path(out).read_bytes() == scores_path(tmp_path / "whole.jsonl").read_bytes()
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.jsonl", "out.scores.jsonl"]


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.parquet"])
def test_a_disk_that_is_full_costs_no_label(model, state_only, tmp_path, asked, monkeypatch, name):
    """Of the files that are written in the end none is half there, and what was predicted is not asked again."""
    rows_files = label_module.rows_files

    @contextmanager
    def full(*paths):
        with rows_files(*paths) as (write, write_scores):
            yield write, lambda rows: write_scores(rows) or full_disk(rows)

    def full_disk(rows):
        if rows[0]["line"] > 10:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(label_module, "rows_files", full)
    with pytest.raises(OSError, match="No space left on device; 15 labels are kept in"):
        label(model, state_only, tmp_path / "labels" / name, batch_size=5)
    assert [path.name for path in (tmp_path / "labels").iterdir()] == [f"{name}.kept"]
    monkeypatch.setattr(label_module, "rows_files", rows_files)
    assert label(model, state_only, tmp_path / "labels" / name, batch_size=5) == Counts(24, 0, 0)
    assert asked == [5, 5, 5, 5, 4]
    assert not (tmp_path / "labels" / f"{name}.kept").exists()


def test_labels_of_another_question_are_not_taken(model, state_only, rows, tmp_path, asked):
    out = tmp_path / "out.jsonl"
    add(state_only, {"episode": "e"})
    for options in ({}, {"samples": 2}):
        with pytest.raises(InputError, match="step: missing" if not options else r"other arguments \(samples 0\)"):
            label(model, state_only, out, **options, batch_size=24)
    write = [{k: v for k, v in row.items() if k != "action"} for row in rows]
    write[3] |= {"state": "door open\nlamp off\nsafe locked"}
    state_only.write_text("".join(json.dumps(row) + "\n" for row in write))
    label(model, state_only, out, batch_size=24)
    assert asked == [24, 1]  # the row that has changed


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("log.jsonl", {}, "log.jsonl: already there"),
        ("out.csv", {}, "expected one ending in .jsonl, .jsonl.gz, .parquet"),
        ("out.jsonl", {"samples": -1}, "--samples: found -1, expected at least 0"),
        ("out.jsonl", {"batch_size": 0}, "--batch_size: found 0, expected at least 1"),
        ("out.jsonl", {"environment": "moon"}, "--environment: found 'moon'"),
    ],
)
def test_wrong_options(model, state_only, tmp_path, name, options, said):
    before = state_only.read_bytes()
    with pytest.raises(InputError) as caught:
        label(model, state_only, tmp_path / name, **options)
    assert said in str(caught.value)
    assert state_only.read_bytes() == before
    assert list(tmp_path.iterdir()) == [state_only]
