"""The folder of a run, and the options that the trainer refuses."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, SingleDeviceStrategy

from swirl_lightning.trainer import SwirlTrainer, claim_version
from swirl_lightning.types import InputError


def test_runs_that_start_together_have_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(20) as pool:
        numbers = list(pool.map(claim_version, [tmp_path / "runs"] * 20))
    assert sorted(numbers) == list(range(20))


def test_the_next_run_stands_after_the_last(tmp_path):
    (tmp_path / "version_7").mkdir()
    (tmp_path / "version_old").mkdir()
    assert claim_version(tmp_path) == 8


@pytest.mark.parametrize("file", [False, True])
def test_a_folder_that_nothing_was_written_to_goes(tmp_path, file):
    write = "(trainer.run_dir / 'file').touch()" if file else "pass"
    code = (
        "import sys; from swirl_lightning.trainer import SwirlTrainer\n"
        f"trainer = SwirlTrainer(default_root_dir={str(tmp_path)!r}, logger=False, accelerator='cpu')\n"
        f"assert trainer.run_dir.is_dir(); {write}; sys.exit(2)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert (tmp_path / "version_0").exists() == file


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed_stage_2", "ddp_spawn", ModelParallelStrategy()])
def test_strategies_that_split_the_model_are_refused(tmp_path, strategy):
    with pytest.raises(InputError, match=r"trainer\.strategy: found \w+, expected auto or ddp: .*quantize"):
        SwirlTrainer(default_root_dir=str(tmp_path), strategy=strategy)
    assert not list(tmp_path.iterdir())


def test_strategies_that_work(tmp_path):
    for strategy in ("auto", "ddp", DDPStrategy(), SingleDeviceStrategy("cpu")):
        SwirlTrainer(default_root_dir=str(tmp_path), strategy=strategy, accelerator="cpu", devices=1, logger=False)


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed", "bf16-true", "64-true", 16])
def test_one_precision_alone_is_right(tmp_path, precision):
    with pytest.raises(InputError, match=r"trainer\.precision: found .*, expected 32-true: .*model\.base\.dtype"):
        SwirlTrainer(default_root_dir=str(tmp_path), precision=precision)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "value"),
    [("run_version", -1), ("log_every_n_steps", 0), ("iterations", -1), ("iterations", float("nan"))],
)
def test_numbers_out_of_range(tmp_path, name, value):
    with pytest.raises(InputError, match=rf"trainer\.{name}: found {value}, expected at least"):
        SwirlTrainer(default_root_dir=str(tmp_path), **{name: value})
