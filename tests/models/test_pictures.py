"""A small model of pictures: what the memory plan is told of its ids, against the codec that it makes."""

import numpy as np
import pytest

from swirl_lightning.codecs import CodecForm, Layout
from swirl_lightning.models import ScratchPictureLM
from swirl_lightning.pictures import place_picture


@pytest.mark.parametrize("form", ["full", "delta"])
@pytest.mark.parametrize("places", [True, False])
def test_the_plan_knows_how_many_ids_may_be_written(tmp_path, form, places):
    base = ScratchPictureLM((12, 8), cell=4, codes=7, vocab_size=300, places=places)
    picture = place_picture(tmp_path, np.zeros((8, 12, 3), np.uint8))
    codec = base.codec([picture, "go"], CodecForm({"": Layout()}, form, 100))
    for role in ("fwm", "idm"):
        rows = codec.answers[role].rows
        assert base.choices(role, form) == rows.stop - rows.start
    assert codec.num_ids <= base.most_ids
