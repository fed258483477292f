import json

import pytest


def stage(name, phase, metrics, *, updates=100, seconds=10.0, **extra):
    learners = {"vim": ["fwm"], "elbo": ["idm"], "sft": ["fwm", "idm"]}.get(phase, ["fwm"])
    base = {"stage": name, "phase": phase, "learners": learners, "iteration": 0, "updates": updates}
    base |= {"seconds": seconds, "tokens": 5000, "gradient_tokens": 400, "metrics": metrics, "validation": {}}
    return base | extra


def metrics(fwm, idm, fwm_logp=-0.5):
    return {"fwm/exact_match": fwm, "fwm/logp": fwm_logp, "idm/exact_match": idm, "idm/unique": 0.5}


@pytest.fixture
def results():
    return {
        "config": {"data": {"root": "logs"}},
        "versions": {"torch": "2.13.0"},
        "seed": 3,
        "stages": [
            stage("pretrain", "pretrain", {}, updates=900),
            stage("warmup", "sft", metrics(0.346, 0.3), updates=800),
            stage("vim-1", "vim", metrics(0.5, 0.3), updates=200, seconds=12.0),
            stage("elbo-1", "elbo", metrics(0.611, 0.3, -0.75), updates=100, seconds=8.0),
        ],
    }


@pytest.fixture
def history():
    rows = [{"stage": "warmup", "update": i, "fwm_loss": 2.0 - i / 10, "idm_loss": 1.0} for i in range(4)]
    shares = {"share_generation": 0.5, "share_scoring": 0.25, "share_update": 0.15}
    for name in ("vim-1", "elbo-1"):
        rows += [
            {"stage": name, "update": i, "reward": -1 + i / 9, "reward_std": 0.2, "kl": 0.1, **shares} for i in range(9)
        ]
    return rows


@pytest.fixture
def samples():
    base = {"episode": "e1", "step": 4, "state": "cup on table\nlamp on desk", "action": "take cup"}
    base["next_state"] = "cup carried\nlamp on desk"
    return [
        {**base, "stage": "warmup", "predicted_action": "take lamp", "predicted_next_state": None},
        {**base, "stage": "elbo-1", "predicted_action": "take cup", "predicted_next_state": "cup eaten\nlamp on desk"},
    ]


@pytest.fixture
def write(tmp_path):
    """Write the files of a run and return its folder; a file that is None is not written."""

    def write_run(results, history=None, samples=None):
        (tmp_path / "results.json").write_text(json.dumps(results))
        for name, rows in (("history", history), ("samples", samples)):
            if rows is not None:
                (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path

    return write_run
