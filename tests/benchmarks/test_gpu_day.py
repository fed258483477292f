"""benchmarks/gpu_day.py with tiny shapes and without a GPU: each part does what it would do there."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gpu_day
import gpu_day_fit

BENCHMARKS = Path(gpu_day.__file__).parent
FITS = [name for name in gpu_day.parts() if name.partition(":")[0] in ("smoke", "long")]
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here: the parts would be measured on it")


def test_the_parts_in_order_of_worth():
    names = list(gpu_day.parts())
    assert set(gpu_day.gpu_configs()) == {"physics", "tool", "web", "webtool", "webtool-12gb"}
    assert {f"smoke:{config}" for config in gpu_day.gpu_configs()} < set(names)
    assert names[0].startswith("smoke:")
    assert names[-4:] == ["decoding", "long:auto", "long:plain", "trl"]


@no_gpu
@pytest.mark.parametrize("name", FITS)
def test_a_configuration_is_trained_and_measured(name, monkeypatch):
    given = []
    original = gpu_day_fit.main
    monkeypatch.setattr(gpu_day_fit, "main", lambda args: given.extend(args) or original(args))
    found = gpu_day.parts()[name].run(True)
    config = name.partition(":")[2] if name.startswith("smoke") else "tool"
    assert f"--config={BENCHMARKS.parent}/configs/{config}.yaml" in given
    if name.startswith("long"):
        assert f"--model.engine={name.partition(':')[2]}" in given
        assert found["options"]["model.fwm.init_args.max_new_tokens"] == 16
    assert list(found["stages"]) == ["warmup", "vim-1", "elbo-1"]
    for stage in found["stages"].values():
        assert stage["tokens"] > 0
        for what in ("update", "evaluation"):
            assert stage[what]["measured"] > stage[what]["planned"] > 0


@no_gpu
def test_a_run_that_fails_is_told():
    with pytest.raises(RuntimeError, match="swirl fit ended with 2"):
        gpu_day_fit.fit_part("tool", True, {"model.max_tokens": 256, "model.optimizer.name": "paged_adamw_8bit"})


def test_peaks_are_compared_with_those_of_their_pass():
    planned = {"vim": 90.0, "evaluation": 50.0}
    found = gpu_day_fit.compared({"update": 100, "evaluation": 40}, planned, "vim", dry_run=False)
    assert found["update"] == {"measured": 100, "planned": 90, "error": pytest.approx(-0.1)}
    assert found["evaluation"]["error"] == pytest.approx(0.25)
    assert gpu_day_fit.compared({"update": 100}, planned, "vim", dry_run=True)["update"]["error"] is None


def test_the_true_shape_is_that_of_the_configurations_model():
    config = gpu_day_fit.qwen2(gpu_day_fit.known_shape("Qwen/Qwen2.5-3B-Instruct"))
    assert (config.vocab_size, config.hidden_size, config.num_hidden_layers) == (151936, 2048, 36)
    assert (config.intermediate_size, config.num_key_value_heads, config.tie_word_embeddings) == (11008, 2, True)


@no_gpu
def test_updates_of_liquids_shape():
    """With nf4, the paper's sampling, its VQ network, and codes behind the tokenizer's ids."""
    found = gpu_day.parts()["pictures"].run(True)
    assert list(found["stages"]) == ["warmup", "vim-1", "elbo-1"]
    for stage in found["stages"].values():
        assert stage["tokens"] > 0
        assert stage["update"]["measured"] > stage["update"]["planned"] > 0
    assert found["codes"] == 16
    assert found["vq"]["encode"] > 0
    assert found["vq"]["decode"] > 0


@no_gpu
def test_nf4_reaches_every_adapter():
    found = gpu_day.parts()["nf4"].run(True)
    for quantize in ("none", "nf4"):
        assert found[quantize]["adapters_with_gradient"] == 1
        assert found[quantize]["difference_alone"] < 0.1  # bfloat16


@no_gpu
def test_the_command_writes_after_every_part_and_goes_on(tmp_path):
    out = tmp_path / "day.json"
    command = [sys.executable, str(BENCHMARKS / "gpu_day.py"), "--out", str(out), "--only"]
    done = subprocess.run([*command, "decoding", "trl"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    first = json.loads(out.read_text())
    assert (first["dry_run"], first["device"]) == (True, "none: a dry run")
    assert {name: part["status"] for name, part in first["parts"].items()} == {"decoding": "done", "trl": "skipped"}
    assert first["parts"]["decoding"]["found"]["points"][0]["same_tokens"] == 1
    done = subprocess.run([*command, "decoding"], capture_output=True, text=True, timeout=300)
    assert "decoding: done before" in done.stdout


def test_a_part_that_fails_or_takes_too_long_costs_itself_alone(tmp_path, monkeypatch):
    """The parts stand in a copy of the script; what a part has started ends with it."""
    script, child, beat = (tmp_path / name for name in ("gpu_day.py", "child.py", "beat"))
    child.write_text(
        "import pathlib, sys, time\n"
        "while True:\n    pathlib.Path(sys.argv[1]).write_text(str(time.time()))\n    time.sleep(0.02)\n"
    )
    script.write_text(
        "import pathlib, subprocess, sys, time\n"
        "name, out = sys.argv[2], sys.argv[4]\n"
        "if name == 'nf4':\n    sys.exit('a fault')\n"
        "if name == 'decoding':\n"
        f"    subprocess.Popen([sys.executable, {str(child)!r}, {str(beat)!r}])\n"
        "    time.sleep(600)\n"
        "pathlib.Path(out).write_text('{\"it\": 1}')\n"
    )
    monkeypatch.setattr(gpu_day, "__file__", str(script))
    limits = {name: part._replace(minutes=0.15 if name == "decoding" else 5) for name, part in gpu_day.parts().items()}
    monkeypatch.setattr(gpu_day, "parts", lambda: limits)
    out, written = tmp_path / "day.json", []
    original = gpu_day.results_file.write
    monkeypatch.setattr(
        gpu_day.results_file, "write", lambda *a, **k: original(*a, **k) or written.append(out.read_text())
    )
    found = gpu_day.run_all(["nf4", "decoding", "trl"], 5, out, True, {})
    assert {name: part["status"] for name, part in found.items()} == {
        "nf4": "failed", "decoding": "timed out", "trl": "done",
    }  # fmt: skip
    assert "a fault" in found["nf4"]["said"]
    assert found["trl"]["found"] == {"it": 1}
    assert [len(json.loads(text)["parts"]) for text in written] == [1, 2, 3]
    last = beat.read_text()
    time.sleep(0.5)
    assert beat.read_text() == last, "what it had started goes on"
    assert gpu_day.run_all(["nf4", "trl"], 0, out, True, {})["nf4"] == {"status": "no time left"}
