"""A tiny run that has learned a toy world by heart, made once by the command line: a plugin of tests/conftest.py."""

import json
import os
import subprocess
import sys

import pytest
from filelock import FileLock

from swirl_lightning.trained.load import load_run

THINGS = {"door": ("open", "shut"), "lamp": ("on", "off"), "safe": ("free", "locked")}
VERBS = {"open": "pull", "shut": "push", "on": "light", "off": "dim", "free": "unlock", "locked": "bolt"}


def world():
    """All rows of the toy world: an action sets one of three things to its other value."""
    rows = []
    for n in range(8):
        facts = {name: values[n >> i & 1] for i, (name, values) in enumerate(THINGS.items())}
        for step, (name, values) in enumerate(THINGS.items()):
            new = values[1 - values.index(facts[name])]
            state, next_state = (
                "\n".join(f"{k} {v}" for k, v in sorted(f.items())) for f in (facts, facts | {name: new})
            )
            rows.append(
                {"episode": f"e{n}", "step": step, "state": state, "next_state": next_state, "action": VERBS[new]}
            )
    return rows


def write_log(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def rows():
    """The toy world, with its actions."""
    return world()


@pytest.fixture
def state_only(tmp_path, rows):
    """A state-only log of the toy world."""
    return write_log(tmp_path / "log.jsonl", [{k: v for k, v in row.items() if k != "action"} for row in rows])


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The folder of the run. The first test that asks for it trains it, for all processes that test side by side."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "toy"
    with FileLock(f"{root}.lock"):
        if not (root / "version_0/results.json").exists():
            train(root)
    return root / "version_0"


def train(root):
    data = root / "data"
    data.mkdir(parents=True)
    for split in ("labelled", "state_only", "validation", "test"):
        rows = [row | {"episode": f"{split} {row['episode']}"} for row in world()]
        rows = [row | {"action": None} for row in rows] if split == "state_only" else rows
        write_log(data / f"{split}.jsonl", rows)
    config = root / "given.yaml"
    config.write_text(CONFIG.format(root=root, data=data))
    done = subprocess.run(
        [sys.executable, "-m", "swirl_lightning", "fit", f"--config={config}"],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="session")
def model(run):
    """The model of the run; no test may change it."""
    return load_run(run)


CONFIG = """
seed_everything: 0
trainer:
  accelerator: cpu
  default_root_dir: {root}
  enable_progress_bar: false
  warmup: [{{phase: sft, updates: 200, learning_rate: 5.0e-3}}]
  iteration: []
  iterations: 0
model:
  base: {{class_path: swirl_lightning.models.ScratchLM, init_args: {{hidden_size: 64, vocab_size: 300}}}}
  fwm: {{class_path: swirl_lightning.modules.ForwardWorldModel, init_args: {{max_new_tokens: 24}}}}
  idm: {{class_path: swirl_lightning.modules.InverseDynamicsModel, init_args: {{max_new_tokens: 12}}}}
  max_tokens: 100
data:
  class_path: swirl_lightning.environments.log.LogDataModule
  init_args: {{path: {data}, batch_size: 24}}
"""
