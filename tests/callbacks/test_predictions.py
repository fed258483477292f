"""What ``swirl predict`` has asked for is on disk until the whole is, whatever ends it."""

import errno
import json
import os
import signal

import lightning as L
import pytest

from swirl_lightning.callbacks import predictions
from swirl_lightning.types import Stopped


class Ends(L.Callback):
    """Something ends the command after the second batch."""

    def __init__(self, error):
        self.error = error

    def on_predict_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 2:
            raise self.error


@pytest.fixture
def predict(toy_trainer, toy_swirl, toy_data):
    """Predicts three transitions one by one; returns the folder once it is made."""

    def run(*callbacks):
        trainer = toy_trainer("sft", callbacks=list(callbacks), run_version=0)
        data = toy_data(eval_batch_size=1)
        trainer.predict(toy_swirl(fwm={"max_new_tokens": 2}, idm={"max_new_tokens": 2}), datamodule=data)

    return run


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_was_predicted_is_kept(predict, tmp_path, monkeypatch, caplog):
    """By a full disk, a signal and a fault in another callback alike; the next one begins anew and leaves the whole."""
    folder = tmp_path / "run/version_0"
    kept = folder / "predictions.jsonl.kept"
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for error in (full, Stopped(signal.SIGTERM, "before"), KeyError("mine")):
        with pytest.raises(type(error)) as caught:
            predict(Ends(error))
        words = f"2 predictions are kept in {kept}, and the same command begins anew"
        assert words in (str(caught.value) if not isinstance(error, KeyError) else caplog.text)
        assert len(rows(kept)) == 2
        assert not (folder / "predictions.jsonl").exists()

    with monkeypatch.context() as patch:
        patch.setattr(predictions, "write_whole", lambda *_: (_ for _ in ()).throw(full))
        with pytest.raises(OSError, match="3 predictions are kept in"):
            predict()
    whole = rows(kept)
    assert len(whole) == 3
    predict()
    assert rows(folder / "predictions.jsonl") == whole
    assert not kept.exists()
