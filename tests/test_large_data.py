"""A run on a large log has the numbers of one on a small log, and its second start reads and encodes nothing."""

import json

import pytest

from swirl_lightning.codecs import TextCodec
from swirl_lightning.environments import rows as files
from swirl_lightning.environments import table
from swirl_lightning.environments.log import LogDataModule
from swirl_lightning.environments.mixture import MixtureDataModule
from swirl_lightning.models import ScratchLM

FIELDS = ("episode", "step", "state", "next_state")


@pytest.fixture
def log(tmp_path, transitions):
    """The toy world with 30 times as many episodes, one in three of them with actions."""
    lines = []
    for copy in range(30):
        for t in transitions:
            row = {field: getattr(t, field) for field in FIELDS} | {"episode": f"{t.episode}/{copy}"}
            lines.append(json.dumps(row | ({} if copy % 3 else {"action": t.action})) + "\n")
    (tmp_path / "log.jsonl").write_text("".join(lines))
    return tmp_path / "log.jsonl"


@pytest.fixture
def large(tmp_path, monkeypatch):
    """From its call on every file counts as large."""

    def set_large():
        monkeypatch.setattr(table, "LARGE", 0)
        monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "kept"))

    return set_large


@pytest.fixture
def weights_after(toy_swirl, toy_trainer):
    """Fits every phase and gives the weights and the results."""

    def fit(data, folder, ckpt_path=None):
        trainer = toy_trainer("pretrain", "sft", "vim", "elbo", folder=folder, limit_val_batches=1.0)
        model = toy_swirl(max_tokens=100)
        trainer.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        return {name: tensor.tolist() for name, tensor in model.state_dict().items()}, model.results

    return fit


def one(log):
    return LogDataModule(log, batch_size=3, eval_limit=6)


def two(log):
    return MixtureDataModule(
        {"a": LogDataModule(log, eval_limit=4), "b": LogDataModule(log, eval_limit=3)}, {"a": 1, "b": 2}
    )


def test_a_large_list_is_encoded_once(large, weights_after, toy_data, monkeypatch):
    small = weights_after(toy_data(), "small")
    large()
    assert weights_after(toy_data(), "first") == small
    monkeypatch.setattr(TextCodec, "_encode", lambda *args: pytest.fail("encoded at a second start"))
    assert weights_after(toy_data(), "second") == small


@pytest.mark.parametrize("make", [one, two])
def test_the_numbers_are_those_of_a_small_log(log, large, weights_after, make, monkeypatch):
    small = weights_after(make(log), "small")
    large()
    assert weights_after(make(log), "first") == small
    for place, name in ((files, "scan_rows"), (TextCodec, "_encode"), (ScratchLM, "tokenizer")):
        monkeypatch.setattr(place, name, lambda *args, name=name: pytest.fail(f"{name} at a second start"))
    assert weights_after(make(log), "second") == small


def test_a_run_goes_on_however_its_log_was_read(log, large, weights_after, tmp_path):
    whole = weights_after(one(log), "small")
    large()
    [checkpoint] = (tmp_path / "small").rglob("last.ckpt")
    assert weights_after(one(log), "on", checkpoint)[0] == whole[0]
