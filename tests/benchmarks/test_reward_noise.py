"""What of a group's rewards is rounding, and what a floor under the spread leaves of it."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import reward_noise

from swirl_lightning.algorithms.grpo import group_advantages

ROOT = Path(__file__).parents[2]


def test_rounding_is_what_differs_within_a_group():
    """A shift of a whole group is none; the share of the squared advantages is that of GRPO's own advantages."""
    exact = torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 0.004]], dtype=torch.double)
    error = torch.tensor([[0.01, -0.01, 0.0], [0.001, 0.0, -0.001]], dtype=torch.double)
    found = reward_noise.rounding(exact, exact + error + torch.tensor([[5.0], [-3.0]]))
    assert found["rounding"] == pytest.approx(float(error.square().mean().sqrt()))
    assert found["spread"][1] == pytest.approx(float((exact[0].std() + exact[1].std()) / 2))
    for floor in reward_noise.FLOORS:
        its = found["floors"][str(floor)]
        advantages = group_advantages(exact + error, min_spread=floor)
        scale = (exact + error).std(1, keepdim=True).clamp(min=floor) + 1e-4
        assert its["noise"] == pytest.approx(float((error / scale).square().sum() / advantages.square().sum()))
        assert its["above"] == (exact.std(1) > floor).double().mean()
    shares = [its["noise"] for its in found["floors"].values()]
    assert shares[0] > 10 * shares[-1]


def test_a_run_is_measured(toy_swirl, toy_data, toy_trainer, tmp_path):
    """Every figure is there, and in float32 the base's own precision is the same."""
    data = toy_data()
    model = toy_swirl(idm={"reads": "delta"})
    toy_trainer("sft", updates=8).fit(model, datamodule=data)
    for role in (model.fwm, model.idm):
        role.policy.weights.set_trainable()
    content = {
        phase: reward_noise.measure(model, list(data.validation), phase, 0, reward_noise.Sampling())
        for phase in ("vim", "elbo")
    }
    for found in content.values():
        assert found["groups"] == len(data.validation)
        assert found["mean"]["rounding"] == found["sum"]["rounding"] == 0
    chosen = content["elbo"]["chosen"]
    assert all(0 <= share <= 1 for share in chosen.values())
    assert chosen["any"] >= max(chosen[f"F + {weight:g} Q"] for weight in reward_noise.WEIGHTS)
    assert reward_noise.table(content).count("\n") == 6


def test_the_page_has_the_measured_table():
    content = json.loads((ROOT / "benchmarks/results/reward_noise.json").read_text())
    page = (ROOT / "docs/engine.md").read_text().splitlines()
    assert [line for line in reward_noise.table(content).splitlines() if line not in page] == []
