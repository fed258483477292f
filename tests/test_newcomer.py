"""A new user's path with a log of their own, in the words of the documents: fit, label, rollout, export, test.

The log is that of a shell, 600 rows of which 60 have their command. The commands are those of README.md and docs/;
only the schedule is shorter, so that the small model learns the form of a command and no more.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import file_shell
import pytest

ROOT = Path(__file__).parents[1]
SHORT = [
    "--trainer.warmup=[{phase: pretrain, updates: 40, learning_rate: 5.0e-3}, {phase: sft, updates: 200}]",
    "--trainer.iteration=[{phase: vim, updates: 3}, {phase: elbo, updates: 3}]", "--trainer.iterations=1",
    "--model.idm.init_args.learning_rate=2.0e-3", "--trainer.enable_progress_bar=false",
]  # fmt: skip
COMMAND = re.compile(r"ls|(mkdir|rmdir|rm|touch) \S+|mv \S+ \S+")


def words(page, start):
    """The command of a page that begins so, without ``swirl``."""
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"))
    lines = re.sub(r"\s*\\\n\s*", " ", "".join(blocks)).split("\n")
    return shlex.split(next(line for line in lines if line.startswith(start)))[1:]


def swirl(folder, *args):
    """Run a command in a folder: its exit code, its output and its error output."""
    done = subprocess.run(
        [sys.executable, "-m", "swirl_lightning", *args], cwd=folder, capture_output=True, text=True, timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_from_a_log_to_a_world_model(tmp_path):
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    log = file_shell.timed(file_shell.rows())
    file_shell.write(tmp_path / "my_log.jsonl", log)
    run = tmp_path / "runs/quickstart/version_0"

    fit = words("README.md", "swirl fit --config configs/quickstart.yaml --data")
    assert "my_log.jsonl" in fit
    code, out, err = swirl(tmp_path, *fit, *SHORT)
    assert code == 0
    assert "other fields are left out: timestamp (600 rows)" in err
    assert "my_log.jsonl: 60 of 600 rows have an action; " in err
    unused = int(re.search(r"(\d+) without one are in held-out episodes", err)[1])
    found = re.search(
        r"data: (\d+) labelled, (\d+) state-only, (\d+) validation and (\d+) test rows, .* In (\d+)%", err
    )
    labelled, state_only, validation, test, still = map(int, found.groups())
    assert labelled + validation + test == 60
    assert state_only == 540 - unused
    assert still == pytest.approx(100 * sum(r["state"] == r["next_state"] for r in log) / 600, abs=2)
    assert "learns little" in err
    needed = int(re.search(r"idm.max_new_tokens is 12: .*--model.idm.init_args.max_new_tokens=(\d+)", err)[1])
    assert needed > 12
    assert "exact match of a copy" in out
    assert out.endswith(
        f"results: {run.relative_to(tmp_path)}/results.json\nreport:  {run.relative_to(tmp_path)}/report.html\n"
    )
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert [stage["phase"] for stage in results["stages"]] == ["pretrain", "sft", "vim", "elbo"]

    bare = [row for row in log if "action" not in row][:40]
    file_shell.write(tmp_path / "log.jsonl", bare)
    label = words("docs/use_a_run.md", "swirl label")
    assert label[1:] == ["runs/quickstart/version_0", "log.jsonl", "--out", "labelled.jsonl"]
    assert swirl(tmp_path, *label)[0] == 0
    named = rows_of(tmp_path / "labelled.jsonl")
    scores = rows_of(tmp_path / "labelled.scores.jsonl")
    assert [(s["episode"], s["step"]) for s in scores] == [(row["episode"], row["step"]) for row in bare]
    assert len(named) == sum(s["source"] == "idm" for s in scores) >= 30
    assert all(row["action"].strip() for row in named)
    assert sum(COMMAND.fullmatch(row["action"]) is not None for row in named) >= len(named) / 2

    (tmp_path / "state.txt").write_text(log[0]["state"] + "\n")
    (tmp_path / "actions.txt").write_text("mkdir img\ntouch img/b.txt\n")
    code, out, _ = swirl(tmp_path, *words("docs/use_a_run.md", "swirl rollout"))
    steps = rows_of(tmp_path / "steps.jsonl")
    assert [step["action"] for step in steps] == ["mkdir img", "touch img/b.txt"][: len(steps)]
    assert out.startswith(f"1. mkdir img    (log-prob {steps[0]['logp']:.2f})\n")
    assert code == int(steps[-1]["state"] is None)  # so small a model may write what is no edit

    assert swirl(tmp_path, *words("docs/use_a_run.md", "swirl export"), "--merge=true")[0] == 0
    for role in ("fwm", "idm"):
        assert (tmp_path / "exported" / role / "model.safetensors").is_file()
    assert json.loads((tmp_path / "exported/swirl.json").read_text())["max_new_tokens"] == {"fwm": 40, "idm": 12}

    code, out, _ = swirl(tmp_path, "test", *fit[1:], *SHORT, "--ckpt_path", "last")
    assert code == 0
    shown = {name: float(value) for name, value in re.findall(r"test/(\S+)\s+│\s+(-?[\d.e-]+)", out)}
    assert shown == pytest.approx(results["stages"][-1]["metrics"], rel=1e-5)
