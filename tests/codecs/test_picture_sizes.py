"""Pictures of any size: padded and scaled in one stated way, for the model, for its metrics and for nobody's files."""

import numpy as np
import pytest
from PIL import Image

from swirl_lightning.codecs import CodecForm, Layout
from swirl_lightning.metrics.pictures import picture_metrics
from swirl_lightning.models import ScratchPictureLM
from swirl_lightning.pictures import PAD, beside, file_of, fitted, pixels, place_picture, psnr, write_codes
from swirl_lightning.types import InputError, Prediction, Transition

SIZE = (16, 8)


def picture(n, height, width):
    return np.random.default_rng(n).integers(0, 256, (height, width, 3), np.uint8)


def naive(shown, size):
    """As Liquid's release does for a square: a canvas of the colour, the picture in its middle, then LANCZOS."""
    image, (width, height) = Image.fromarray(shown), size
    wide = max(image.width, round(image.height * width / height))
    high = max(image.height, round(image.width * height / width))
    canvas = Image.new("RGB", (wide, high), PAD)
    canvas.paste(image, ((wide - image.width) // 2, (high - image.height) // 2))
    return np.asarray(canvas.resize(size, Image.Resampling.LANCZOS))


@pytest.mark.parametrize("shape", [(20, 20), (7, 30), (31, 9), (8, 16), (100, 41), (1, 1)])
@pytest.mark.parametrize("size", [(16, 16), SIZE, (24, 40)])
def test_a_picture_is_padded_and_scaled(shape, size):
    shown = picture(1, *shape)
    found = fitted(shown, size)
    assert found.shape == (size[1], size[0], 3)
    if shape != (size[1], size[0]):
        assert np.array_equal(found, naive(shown, size))
    else:
        assert found is shown


def test_what_is_padded():
    wide = fitted(np.zeros((4, 8, 3), np.uint8), (8, 8))
    assert (wide[[0, 1, 6, 7]] == PAD).mean() > 0.3  # but for the ringing at the edge
    assert tuple(fitted(picture(0, 4, 400), (16, 16))[0, 0]) == PAD == (122, 116, 104)
    assert tuple(fitted(picture(0, 400, 4), (16, 16))[-1, -1]) == PAD


@pytest.fixture
def states(tmp_path):
    """Of three sizes, one of them the model's."""
    return [place_picture(tmp_path, picture(n, *shape)) for n, shape in enumerate([(8, 16), (20, 20), (6, 30)])]


def made(states, fit, form="full"):
    base = ScratchPictureLM(SIZE, cell=4, codes=30, codebook="patches", fit=fit, vocab_size=300)
    return base, base.codec([*states, "go on"], CodecForm({"": Layout()}, form, 100))


@pytest.mark.parametrize("form", ["full", "delta"])
def test_a_codec_that_pads(states, tmp_path, form):
    before = [file_of(state).read_bytes() for state in states]
    base, codec = made(states, "pad", form)
    x = codec.encode_states(states)
    assert [len(ids) for ids in x] == [8, 8, 8]
    seen = [place_picture(tmp_path, naive(pixels(state), SIZE)) for state in states]
    assert codec.encode_states(seen) == x  # as of pictures that have been brought to the size before
    assert codec.encode(Transition("e", 0, states[0], states[1], "go on"))  # a pair of unequal size
    assert codec.loss(states)[0] == pytest.approx(codec.loss(seen)[0])
    assert codec.view(states[1]).shape == codec.view(states[0]).shape
    again = base.restore_codec(codec.saved(), CodecForm({"": Layout()}, form, 100))
    assert again.encode_states(states) == x
    assert [file_of(state).read_bytes() for state in states] == before


def test_ids_depend_on_the_padding(states):
    assert made(states, "pad")[1].identity() != made(states[:1], "none")[1].identity()


def test_without_it_another_size_is_refused(states):
    with pytest.raises(InputError, match=r"has 20 x 20 pixels, .*or model\.base\.fit to pad"):
        made(states, "none")


def test_a_prediction_is_compared_in_its_own_size(states, tmp_path):
    codec = made(states, "pad")[1]
    codes = np.array(codec.encode_states(states[1:2])[0]).reshape(2, 4) - codec.first
    said = write_codes(codec.codebook, codes)  # what the codes keep of the second picture
    transition = Transition("e", 0, states[0], states[1], "go on")
    assert beside(states[1], pixels(said)).shape == (8, 16, 3)
    metric = picture_metrics()["fwm_psnr"]
    metric.update([transition], [Prediction("", said)])
    want = psnr([pixels(said)], [naive(pixels(states[1]), SIZE)])
    assert float(metric.compute()) == pytest.approx(min(want, 60), abs=1e-4)
