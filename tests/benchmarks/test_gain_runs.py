"""Runs of the gain benchmarks: made once, resumed, recorded at once."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gain_runs
from gain_runs import Ledger, checkpoint, fit, monitored, schedule

RESULTS = {"stages": [{"stage": "warmup", "updates": 3, "metrics": {"fwm/logp": -1.0}}]}
HISTORY = [{"stage": "warmup", "update": i, "kl": float(i), "entropy": None} for i in range(20)]


@pytest.fixture
def swirl(monkeypatch):
    """Stands in for the command; notes how it was called, and fails as often as asked."""
    calls, failures = [], []

    def run(command, env, **kwargs):
        calls.append(command)
        assert env["OMP_NUM_THREADS"] == "1"
        folder = Path(command[command.index("--trainer.default_root_dir") + 1]) / "version_0"
        checkpoint(folder.parent).parent.mkdir(parents=True, exist_ok=True)
        checkpoint(folder.parent).touch()
        if failures:
            return SimpleNamespace(returncode=failures.pop(), stdout="", stderr="model.seed: no")
        (folder / "results.json").write_text(json.dumps(RESULTS))
        (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in HISTORY))
        (folder / "report.html").touch()
        return SimpleNamespace(returncode=0, stdout="", stderr="")

    monkeypatch.setattr(gain_runs.subprocess, "run", run)
    return SimpleNamespace(calls=calls, failures=failures)


def test_a_run_is_made_once(swirl, tmp_path):
    assert fit(tmp_path / "a", "--config", "c.yaml") == fit(tmp_path / "a", "--config", "c.yaml") == RESULTS
    (command,) = swirl.calls
    assert command[1:6] == ["-m", "swirl_lightning", "fit", "--config", "c.yaml"]


def test_a_run_that_was_cut_off_goes_on(swirl, tmp_path):
    swirl.failures.append(1)
    with pytest.raises(RuntimeError, match="model.seed: no"):
        fit(tmp_path / "a", "--config", "c.yaml")
    assert checkpoint(tmp_path / "a").exists()
    fit(tmp_path / "a", "--config", "c.yaml")
    assert checkpoint(tmp_path / "a").exists()
    for command in swirl.calls:
        assert command[command.index("--ckpt_path") + 1] == "last"


def test_a_run_with_other_options_is_made_anew(swirl, tmp_path):
    fit(tmp_path / "a", "--config", "c.yaml")
    left = tmp_path / "a" / "version_0" / "left"
    left.touch()
    fit(tmp_path / "a", "--config", "d.yaml")
    assert len(swirl.calls) == 2
    assert not left.exists()


def test_monitors_are_means_of_both_ends(swirl, tmp_path):
    fit(tmp_path / "a")
    (stage,) = monitored(tmp_path / "a")
    assert stage == RESULTS["stages"][0] | {"monitors": {"kl": [3.5, 15.5]}}


@pytest.mark.parametrize(("updates", "ends"), [(6, [1.0, 4.0]), (3, [0.0, 2.0]), (1, [0.0, 0.0])])
def test_the_ends_of_a_short_stage_do_not_overlap(updates, ends, swirl, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "HISTORY", HISTORY[:updates])
    fit(tmp_path / "a")
    assert monitored(tmp_path / "a")[0]["monitors"] == {"kl": ends}


def test_a_schedule_is_what_the_command_line_takes():
    made = schedule({"phase": "sft", "updates": 3, "learning_rate": 1e-4}, {"phase": "vim", "batch_size": None})
    assert made[::2] == ("--trainer.warmup", "--trainer.iteration", "--trainer.iterations")
    listed = '[{"phase": "sft", "updates": 3, "learning_rate": 0.0001}, {"phase": "vim", "batch_size": null}]'
    assert made[1::2] == ("[]", listed, "1")


def test_rows_are_there_when_the_benchmark_runs_again(tmp_path):
    path, about = tmp_path / "deep" / "gain.json", {"settings": {"rates": (1, 2)}, "command": "first"}
    ledger = Ledger(path, about)
    assert ledger.find(arm="swirl", seed=0) is None
    ledger.add({"arm": "swirl", "seed": 0, "labels": 16})
    ledger.add({"arm": "swirl", "seed": 1, "labels": 16})
    again = Ledger(path, about | {"command": "second"})
    assert again.find(arm="swirl", seed=1) == {"arm": "swirl", "seed": 1, "labels": 16}
    assert again.find(arm="swirl", seed=2) is None
    assert [p.name for p in path.parent.iterdir()] == ["gain.json"]


def test_two_benchmarks_of_different_seeds_write_to_one_file(tmp_path):
    first, second = (Ledger(tmp_path / "gain.json", {"settings": {}}) for _ in range(2))
    first.add({"arm": "swirl", "seed": 0})
    second.add({"arm": "swirl", "seed": 1})
    first.add({"arm": "sft-continue", "seed": 0})
    found = Ledger(tmp_path / "gain.json", {"settings": {}}).content["rows"]
    assert [(row["arm"], row["seed"]) for row in found] == [("swirl", 0), ("swirl", 1), ("sft-continue", 0)]


def test_no_row_is_lost_where_two_processes_add_at_the_same_time(tmp_path):
    adding = "import sys; from pathlib import Path; from gain_runs import Ledger\n"
    adding += "ledger = Ledger(Path(sys.argv[1]), {'settings': {}})\n"
    adding += "for i in range(60): ledger.add({'seed': sys.argv[2], 'i': i})"
    command = [sys.executable, "-c", adding, str(tmp_path / "gain.json")]
    both = [subprocess.Popen([*command, seed], cwd=Path(gain_runs.__file__).parent) for seed in ("0", "1")]
    assert [process.wait() for process in both] == [0, 0]
    assert len(Ledger(tmp_path / "gain.json", {"settings": {}}).content["rows"]) == 120


def test_results_of_other_settings_are_not_mixed(tmp_path):
    Ledger(tmp_path / "gain.json", {"settings": {"model": "a"}}).add({"arm": "swirl"})
    with pytest.raises(SystemExit, match=r"holds results of other settings; give another --out"):
        Ledger(tmp_path / "gain.json", {"settings": {"model": "b"}})
