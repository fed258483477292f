"""What each phase adds after a finished warm-up: which runs are made, from where, and their table."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import phase_gain
from gain_runs import Ledger

from swirl_lightning.commands import main

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs/textworld.yaml"
HERE = ("--model.base.init_args.name", "/here", "--data.init_args.path", "/there")
METRICS = {"fwm/exact_match": 0.75, "idm/exact_match": 0.7, "fwm/logp": -0.1, "idm/logp": -0.4}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """The runs that are asked for, by arm: nothing is trained, and each arm gains a tenth of a share."""
    asked = {}

    def fit(folder, *options):
        path = folder / "version_0/checkpoints/last.ckpt"
        path.parent.mkdir(parents=True)
        path.touch()
        asked[folder.name] = options

    def monitored(folder):
        gained = METRICS | {"fwm/exact_match": 0.75 + (0.1 if folder.name != "warm-up" else 0)}
        return [{"stage": "any", "metrics": gained, "seconds": 10.0, "gradient_tokens": 2000}]

    monkeypatch.setattr(phase_gain, "fit", fit)
    monkeypatch.setattr(phase_gain, "monitored", monitored)
    return asked


def ledger(tmp_path):
    return Ledger(tmp_path / "room.json", {"command": "", "machine": "", "settings": {}})


def test_what_an_arm_begins_with_is_made_first(made, tmp_path):
    phase_gain.run(11, ["bootstrap, elbo"], CONFIG, HERE, tmp_path, ledger(tmp_path))
    assert list(made) == ["warm-up", "bootstrap", "bootstrap, elbo"]
    starts = {name: options[options.index("--model.init_from") + 1] for name, options in list(made.items())[1:]}
    assert [Path(start).parents[2].name for start in starts.values()] == ["warm-up", "bootstrap"]
    rows = json.loads((tmp_path / "room.json").read_text())["rows"]
    assert not any("/" in str(row["options"]).replace("swirl_lightning/", "") for row in rows)  # no machine's paths


def test_what_is_known_is_not_made_again(made, tmp_path):
    phase_gain.run(11, ["bootstrap"], CONFIG, (), tmp_path, ledger(tmp_path))
    made.clear()
    phase_gain.run(11, ["bootstrap", "sft-continue"], CONFIG, (), tmp_path, ledger(tmp_path))
    assert list(made) == ["sft-continue"]
    (tmp_path / "bootstrap/version_0/checkpoints/last.ckpt").unlink()  # weights that an arm to come begins with
    made.clear()
    phase_gain.run(11, ["bootstrap, elbo"], CONFIG, (), tmp_path / "again", ledger(tmp_path))
    assert list(made) == ["warm-up", "bootstrap", "bootstrap, elbo"]


def test_table(made, tmp_path):
    kept = ledger(tmp_path)
    for seed in (11, 12):
        phase_gain.run(seed, ["bootstrap, elbo"], CONFIG, (), tmp_path / str(seed), kept)
    *_, warm, bootstrap, both = phase_gain.table(kept.content).splitlines()
    assert warm == "| warm-up | 11, 12 | 0.750 ± 0.000 | 0.700 ± 0.000 | -0.100 | -0.400 |  |  |"
    gain = "0.850 ± 0.000 (+10.0 ± 0.0; 2 of 2)"
    assert bootstrap == f"| bootstrap | 11, 12 | {gain} | 0.700 ± 0.000 | -0.100 | -0.400 | 10 | 2 k |"
    assert both == f"| bootstrap, elbo | 11, 12 | {gain} | 0.700 ± 0.000 | -0.100 | -0.400 | 20 | 4 k |"


@pytest.mark.parametrize("name", phase_gain.ARMS)
@pytest.mark.parametrize("config", phase_gain.WORLDS.values())
def test_swirl_knows_the_options(name, config, made, tmp_path, capsys):
    phase_gain.run(11, [name], ROOT / "configs" / config, (), tmp_path, ledger(tmp_path))
    with pytest.raises(SystemExit) as end:
        main(["fit", *made[name], "--print_config"])
    assert end.value.code == 0
    assert f"updates: {120 if 'as long' in name else 60}" in capsys.readouterr().out


def test_a_metric_that_rows_lack_is_no_column(made, tmp_path):
    kept = ledger(tmp_path)
    phase_gain.run(11, ["bootstrap"], CONFIG, (), tmp_path, kept)
    assert "FWM delta F1" not in phase_gain.table(kept.content)
    for row in kept.content["rows"]:
        row["stages"][-1]["metrics"]["fwm/delta_f1"] = 0.5
    assert "FWM delta F1" in phase_gain.table(kept.content)


@pytest.mark.parametrize("world", phase_gain.WORLDS)
def test_the_page_of_results_has_the_table(world):
    found = ROOT / f"benchmarks/results/phase_gain_{world}.json"
    if not found.exists():
        pytest.skip("not measured")
    page = (ROOT / "docs/results.md").read_text().splitlines()
    assert [line for line in phase_gain.table(json.loads(found.read_text())).splitlines() if line not in page] == []
