"""``swirl plan`` as a command; what it prints is tested with the plan."""

from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[2] / "configs/debug.yaml"


def test_help_shows_its_own_options_and_names_the_others(swirl):
    code, out, _ = swirl("plan", "--help")
    assert code == 0
    assert "--gpu_memory" in out
    assert "--config" in out
    assert "swirl fit --help" in out


@pytest.mark.parametrize(
    ("memory", "code", "said"), [("3GiB", 0, "fits in 3.0 GiB"), ("1MiB", 1, "does not fit in 0.0")]
)
def test_its_own_option_stands_among_those_of_fit(swirl, memory, code, said):
    found, out, _ = swirl("plan", "--gpu_memory", memory, "--config", str(CONFIG), "--model.micro_batch=2")
    assert found == code
    assert said in out
    assert "2/16" in out


def test_the_configuration_that_a_run_has_written_is_planned(debug_run, swirl):
    """It holds arguments of ``Trainer.fit`` too."""
    before = set(debug_run[0].parent.iterdir())
    code, out, _ = swirl("plan", f"--config={debug_run[0] / 'config.yaml'}", "--gpu_memory=3GiB")
    assert code == 0
    assert "fits in 3.0 GiB" in out
    assert set(debug_run[0].parent.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--gpu_memori=3"], "swirl plan: no such option: --gpu_memori; did you mean --gpu_memory?"),
        (["--gpu_memory=lots"], "--gpu_memory: found 'lots', expected a size"),
        (["--model.max_token=3"], "swirl plan: no such option: --model.max_token; did you mean --model.max_tokens?"),
        (["--gpu_memory"], "swirl plan: --gpu_memory: expected a value"),
    ],
)
def test_wrong_input(refused, options, said):
    assert said in refused("plan", f"--config={CONFIG}", *options)


def test_no_configuration(refused):
    assert refused("plan") == "swirl plan: missing --model.base, --model.fwm, --model.idm, --data"
