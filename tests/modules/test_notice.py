"""What a run says of its data before it trains."""

import logging
from dataclasses import replace

import pytest

from swirl_lightning.modules import notice
from swirl_lightning.modules.notice import tell
from swirl_lightning.modules.preparation import encode
from swirl_lightning.types import Answer


@pytest.fixture
def said(ready_swirl, caplog):
    """What is said of the toy world by a model whose longest completions are these."""

    def say(fwm, idm, scratch=False):
        model, data = ready_swirl(fwm={"max_new_tokens": fwm}, idm={"max_new_tokens": idm})
        data.state_only[3] = replace(data.state_only[3], next_state=data.state_only[3].state)
        sizes = encode(model.codec, data, skip=False)
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="swirl_lightning.modules.notice"):
            tell(data, sizes, (model.fwm, model.idm), model.max_tokens, scratch=scratch)
        told = [(record.levelname, record.getMessage()) for record in caplog.records if "notice" in record.name]
        return model, data, told

    return say


def test_rows_by_use_their_size_and_what_stands_still(said):
    model, data, ((level, line),) = said(90, 90)
    splits = (data.labelled, data.state_only, data.validation, data.test)
    longest = max(model.codec.encode(t).length for split in splits for t in split)
    assert level == "INFO"
    assert line == (
        f"data: 9 labelled, 12 state-only, 3 validation and 3 test rows, of at most {longest} tokens (model.max_tokens "
        "1024). In 5% of the rows that train nothing changes."
    )


def test_targets_that_can_never_be_written(said):
    """Counted over the rows that train, end token included; with the number that is said none is left."""
    model, data, _ = said(90, 90)
    codes = [model.codec.encode(t) for t in [*data.labelled, *data.state_only]]
    edits, actions = sorted(len(c.y) + 1 for c in codes), sorted(len(c.z) + 1 for c in codes if c.z is not None)
    assert edits[5] < edits[-1]
    assert actions[3] < actions[-1]
    _, _, (_, fwm, idm) = said(edits[5], actions[3])
    for (level, line), role, its, most in ((fwm, "fwm", edits, edits[5]), (idm, "idm", actions, actions[3])):
        assert level == "WARNING"
        assert line.startswith(f"model.{role}.max_new_tokens is {most}: {sum(n > most for n in its)} of {len(its)} ")
        assert line.endswith(f"--model.{role}.init_args.max_new_tokens={its[-1]}")
    assert len(said(edits[-1], actions[-1])[2]) == 1


def test_an_answer_of_known_length_has_no_end_to_write(ready_swirl):
    model, data = ready_swirl()
    labelled, state_only, *_ = encode(model.codec, data, skip=False)
    model.fwm.max_new_tokens = longest = int(max(its.y.max() for its in (labelled, state_only)))
    assert len(list(notice._unwritable(labelled, state_only, [model.fwm]))) == 1
    model.fwm.policy.answer = Answer(length=longest)
    assert list(notice._unwritable(labelled, state_only, [model.fwm])) == []


@pytest.mark.parametrize(("scratch", "own"), [(True, True), (True, False), (False, True)])
def test_a_small_model_of_an_own_log_is_said_to_learn_little(said, monkeypatch, scratch, own):
    if own:
        monkeypatch.setattr(notice, "LogDataModule", type(said(90, 90)[1]))
    _, _, told = said(90, 90, scratch)
    assert any("learns little" in line and "configs/textworld.yaml" in line for _, line in told) == (scratch and own)
