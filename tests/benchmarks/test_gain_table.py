"""The tables, the lengths that make arms equal, and the command line of the gain benchmarks."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gain_main
from gain_arms import Recipe
from gain_lengths import data_module, episodes, measure
from gain_main import data_options, settings_of
from gain_table import points, tables

from swirl_lightning.environments.log import LogDataModule
from swirl_lightning.environments.splits import SPLITS


def stage(name, logp, iteration=0, **more):
    return {
        "stage": name, "phase": name.partition("-")[0], "iteration": iteration, "seconds": 10.0,
        "gradient_tokens": 1000, "metrics": {"fwm/logp": logp, "fwm/rouge_l": -1 / logp, "idm/unique": 0.5},
        "validation": {"fwm/logp": logp - 5},
    } | more  # fmt: skip


def row(arm, seed, *stages, labels=16):
    return {"arm": arm, "seed": seed, "labels": labels, "transitions": 100 + seed, "stages": list(stages)}


@pytest.fixture
def content():
    rows = []
    for seed in (0, 1):
        shift = 0.25 * seed
        rows += [
            row("warm-up", seed, stage("sft", -4.0 - shift)),
            row(
                "swirl", seed,
                stage("vim-1", -3.0 - shift, 1, monitors={"kl": [0.0, 0.5]}), stage("elbo-1", -2.0 - shift, 1),
                stage("vim-2", -2.0, 2), stage("elbo-2", -1.0 - 4 * seed, 2),
            ),
            row("warm-up-shared", seed, stage("sft", -8.0)),
            row("swirl-shared", seed, stage("vim-1", -6.0, 1), stage("elbo-1", -7.0, 1)),
        ]  # fmt: skip
    recipe = {"metric": "fwm/rouge_l", "published": "+14 %"}
    settings = {"recipe": recipe, "split": "test"}
    return {"command": "python x.py", "machine": "m", "settings": settings, "rows": [*rows, row(
        "warm-up", 0, stage("sft", -9.0), labels=64)]}  # fmt: skip


def cells(page, start):
    return [[c.strip() for c in line.strip("|").split("|")] for line in page.splitlines() if line.startswith(start)]


def test_gains_are_over_the_warm_up_of_the_same_seed(content):
    page = tables(content)
    ((_, rouge, _, _, logp, *_, seconds, tokens),) = cells(page, "| swirl, iteration 1 |")[:1]
    assert logp == "-2.125 ± 0.177 (+2.000 ± 0.000; 2 of 2)"
    assert (seconds, tokens) == ("20", "2 k")
    assert rouge.startswith("0.472 ± 0.039 (+0.230")
    second = cells(page, "| swirl, iteration 2 |")[0]
    assert second[4].endswith("1 of 2)")
    assert second[-2:] == ["40", "4 k"]
    assert cells(page, "| warm-up |")[0][4] == "-4.125 ± 0.177"
    shared = cells(page, "| swirl-shared |")[0]
    assert shared[4] == "-7.000 ± 0.000 (+1.000 ± 0.000; 2 of 2)"  # over a warm-up of its own


def test_relative_gains_stand_beside_the_published(content):
    found = {line[0]: line[1:] for line in cells(tables(content), "| swirl") if len(line) == 3}
    assert found["swirl-shared"] == ["+14.3 ± 0.0 %", "+14 %"]
    assert found["swirl, iteration 1"] == ["+94.4 ± 7.9 %", "+14 %"]


def test_each_number_of_labels_has_its_tables(content):
    page = tables(content)
    assert "### 16 labelled episodes (100 to 101 transitions)" in page
    assert "### 64 labelled episodes (100 transitions)" in page
    assert page.count("| after |") == 2


def test_monitors(content):
    page = tables(content)
    ((_, *figures),) = cells(page, "| swirl: vim-1 |")
    assert figures == ["", "", "0 → 0.5", "", "", "", "0.50 ± 0.00", ""]


def test_rows_have_one_order_whatever_was_finished_first(content):
    page = tables(content)
    content["rows"].reverse()
    again = tables(content)
    arms = [line.split("|")[1].strip() for line in again.splitlines() if line.startswith(("| warm", "| swirl"))]
    assert arms == [line.split("|")[1].strip() for line in page.splitlines() if line.startswith(("| warm", "| swirl"))]
    assert arms[:4] == ["warm-up", "swirl, iteration 1", "swirl, iteration 2", "warm-up-shared"]


def test_tuning_shows_the_validation_split(content):
    content["settings"]["split"] = "validation"
    content["rows"] = [r for r in content["rows"] if r["arm"] in ("warm-up", "swirl")]
    assert cells(tables(content), "| warm-up |")[0][4] == "-9.125 ± 0.177"
    found = list(points(content["rows"][:2], "validation"))
    assert [p.metrics["fwm/logp"] for p in found] == [-9.0, -7.0, -6.0]


@pytest.fixture
def world(tmp_path, transitions):
    """A folder of the toy world, and a configuration for it."""
    parts = {"labelled": transitions[:9], "state_only": transitions[9:18], "validation": transitions[18:21]}
    parts["test"] = transitions[21:]
    folder = tmp_path / "world"
    folder.mkdir()
    for split in SPLITS:
        rows = [{name: getattr(t, name) for name in ("episode", "step", "state", "next_state", "action")}
                for t in parts[split]]  # fmt: skip
        if split == "state_only":
            rows = [{k: v for k, v in row.items() if k != "action"} for row in rows]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tmp_path / "toy.yaml"
    base = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "vocab_size": 280}
    config.write_text(
        yaml.safe_dump(
            {
                "model": {
                    "base": {"class_path": "swirl_lightning.models.ScratchLM", "init_args": base},
                    "state_form": "delta",
                    "max_tokens": 512,
                },
                "data": {
                    "class_path": "swirl_lightning.environments.log.LogDataModule",
                    "init_args": {"path": "elsewhere", "batch_size": 3},
                },
            }
        )
    )
    return config, folder


def test_lengths_are_what_the_updates_count(world, toy_swirl, toy_trainer):
    config, folder = world
    data = data_module(config, path=folder)
    assert isinstance(data, LogDataModule)
    assert (data.batch_size, episodes(data, "labelled")) == (3, 3)
    lengths = measure(config, data, None)
    trainer = toy_trainer("sft", "bootstrap", updates=3)
    model = toy_swirl(fwm={"anchor": 1.0}, state_form="delta", max_tokens=512)
    trainer.fit(model, datamodule=data_module(config, path=folder))
    sft, bootstrap = json.loads((trainer.run_dir / "results.json").read_text())["stages"]
    assert lengths.labels == 9
    assert sft["gradient_tokens"] == pytest.approx(2 * 9 * lengths.labelled)  # each transition once, in both roles
    # the state-only half's actions are drawn here, and not of the labels' mean length
    drawn = bootstrap["gradient_tokens"] / 9 - lengths.labelled
    assert lengths.state_only - 6 < drawn < lengths.state_only + 6


def test_settings_and_options_of_the_command_line(world, monkeypatch):
    config, folder = world
    recipe = Recipe(config, "fwm/logp", "", {"sft": 1e-4})
    words = ["x", "--data", str(folder), "--out", "a/gain.json", "--data.init_args.eval_limit", "5"]
    monkeypatch.setattr(sys, "argv", [*words, "--data.init_args.cover=false", "--model.bootstrap", "0.5"])
    options, others = gain_main.arguments(None)
    assert options.runs == Path("runs/gain")
    assert data_options(options, others) == {"path": folder, "eval_limit": 5, "cover": False}
    settings = settings_of(recipe, options, others)
    assert settings["options"] == others
    config.write_text(config.read_text() + "# changed\n")
    assert settings_of(recipe, options, others) != settings
    assert settings_of(replace(recipe, rates={"sft": 1e-5}), options, others)["recipe"] != settings["recipe"]


def test_one_command_makes_all_columns_and_the_page(world, monkeypatch, tmp_path, capsys):
    config, folder = world
    made = []

    def run(self, arms):
        made.append((self.seed, self.labels, self.lengths.labels, self.options))
        self.ledger.add(row("warm-up", self.seed, stage("sft", -1.0), labels=self.labels))

    monkeypatch.setattr(gain_main.Column, "run", run)
    out = tmp_path / "results" / "gain.json"
    words = ["x", "--data", str(folder), "--out", str(out), "--seeds", "7", "--labels", "2", "64", "256", "--jobs", "1"]
    monkeypatch.setattr(sys, "argv", words)
    gain_main.main(Recipe(config, "fwm/rouge_l", "", {}), "about")
    assert [(seed, labels, transitions) for seed, labels, transitions, _ in made] == [(7, 2, 6), (7, 3, 9)]  # 3 at most
    given = made[0][3]
    for name, value in (
        ("--seed_everything", "7"),
        ("--data.init_args.num_label_episodes", "2"),
        ("--data.init_args.num_labels", "null"),
        ("--data.init_args.path", str(folder)),
        ("--data.init_args.validation_limit", "1"),
    ):
        assert given[given.index(name) + 1] == value
    assert out.with_suffix(".md").read_text() in capsys.readouterr().out
    assert json.loads(out.read_text())["settings"]["split"] == "test"
