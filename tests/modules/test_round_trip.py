"""From two states to an action and back."""

import json
from dataclasses import replace

import pytest

from swirl_lightning.callbacks import RoundTrip
from swirl_lightning.modules.round_trip import round_trip


def test_the_fwm_is_asked_about_the_idms_own_answer(phase_swirl, monkeypatch):
    model, data = phase_swirl(scale=4.0)
    batch, layout = data.test, model.codec.prompts()
    monkeypatch.setattr(model.codec, "next_state", lambda state, ids: None if len(ids) % 2 else f"{state}|{ids}")
    found = round_trip(model, batch)
    for t, said in zip(batch, found, strict=True):
        code = model.codec.encode(t)
        z = model.idm.answer([layout.inverse(code.x, code.y)])
        y = model.fwm.answer([layout.forward(code.x, z.ids[0])])
        assert said == (model.codec.next_state(t.state, y.ids[0]) if z.ended[0] and y.ended[0] else None)
    assert round_trip(model, [replace(t, action="another name") for t in batch]) == found  # it is not read


@pytest.mark.parametrize("right", [0, 2, 3])
def test_in_a_run(right, toy_swirl, toy_data, toy_trainer, monkeypatch):
    """The share of the test split, after every stage but pretraining, in results.json and in `swirl test`."""

    def answers(model, transitions):
        return [t.next_state if n < right else None for n, t in enumerate(transitions)]

    monkeypatch.setattr("swirl_lightning.callbacks.round_trip.round_trip", answers)
    trainer = toy_trainer("pretrain", "sft", updates=1, limit_val_batches=None, callbacks=[RoundTrip()])
    model, data = toy_swirl(), toy_data()
    trainer.fit(model, datamodule=data)
    pretrained, warm = json.loads((trainer.run_dir / "results.json").read_text())["stages"]
    assert "idm/round_trip" not in pretrained["metrics"] | warm["validation"]
    assert warm["metrics"]["idm/round_trip"] == pytest.approx(right / 3)
    (logged,) = trainer.test(model, datamodule=data, verbose=False)
    assert logged["idm/round_trip"] == pytest.approx(right / 3)
