"""Rows that are too long: how many, which is the longest, and a run without them."""

import logging
from dataclasses import replace

import pytest
import torch

from swirl_lightning.codecs import TextCodec
from swirl_lightning.modules import preparation
from swirl_lightning.modules.preparation import encode
from swirl_lightning.types import InputError

SPLITS = ("labelled", "state_only", "validation", "test")
LONG = {"labelled": [2], "state_only": [0, 5], "validation": [1], "test": []}


@pytest.fixture(params=["small", "large"])
def made(request, ready_swirl, monkeypatch, tmp_path):
    """A toy model and its data, in which the places of LONG are too long; ids of "large" data are kept on disk."""
    model, data = ready_swirl(max_tokens=60)
    for split, places in LONG.items():
        part = getattr(data, split)
        for place in places:
            part[place] = replace(part[place], state=part[place].state + "\nlamp on" * (20 + place))
    monkeypatch.setattr(preparation, "is_large", lambda rows: request.param == "large")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    return model, data


def parts(data):
    return {split: list(getattr(data, split)) for split in SPLITS}


def test_they_are_counted_and_the_longest_is_named(made):
    model, data = made
    worst = data.state_only[5]
    loose = TextCodec(model.codec.tokenizer, model.layouts, "delta", 10_000)
    before = parts(data)
    told = (
        f"^model.max_tokens: found 60, expected at least {loose.encode(worst).length}, which step {worst.step} of "
        f"episode '{worst.episode}' takes, .* of 27 rows 4 are too long; .* leave these rows out with model.skip_too_"
    )
    with pytest.raises(InputError, match=told):
        encode(model.codec, data, skip=False)
    assert parts(data) == before


def test_they_are_left_out_and_the_sizes_are_those_of_the_others(made, caplog):
    model, data = made
    expected = {
        split: [t for place, t in enumerate(part) if place not in LONG[split]] for split, part in parts(data).items()
    }
    with caplog.at_level(logging.WARNING, logger="swirl_lightning"):
        sizes = encode(model.codec, data, skip=True)
    assert "of 27 rows 4 are too long; they are left out" in caplog.text
    assert parts(data) == expected
    for its, split in zip(sizes, SPLITS, strict=True):
        codes = [model.codec.encode(t) for t in expected[split]]
        assert its.whole.tolist() == [code.length for code in codes]
        assert its.y.tolist() == [len(code.y) for code in codes]
        assert its.z.tolist() == [len(code.z or ()) for code in codes]


def test_a_split_of_which_nothing_is_left_is_refused(made):
    model, data = made
    model.codec.max_tokens = 10
    with pytest.raises(InputError, match=r"of 27 rows 27 are too long; nothing else is in the split 'labelled': raise"):
        encode(model.codec, data, skip=True)


def test_a_run_without_them_is_measured_without_them(toy_swirl, toy_data, toy_trainer, tmp_path):
    """In the fit and in ``swirl test`` alike: the same transitions, hence the same metrics."""

    def make():
        data = toy_data()
        data.setup()
        data.test[1] = replace(data.test[1], state=data.test[1].state + "\nlamp on" * 40)
        return toy_swirl(max_tokens=60, skip_too_long=True), data

    model, data = make()
    fit = toy_trainer("sft", limit_val_batches=1.0)
    fit.fit(model, datamodule=data)
    assert len(data.test) == 2
    torch.manual_seed(0)
    again, rest = make()
    tested = toy_trainer("sft", folder="test")
    tested.test(again, datamodule=rest, ckpt_path=str(fit.run_dir / "checkpoints/last.ckpt"), verbose=False)
    assert len(rest.test) == 2
    assert again.results["test"] == pytest.approx(model.results["test"])
