"""Pictures as states: named by content, fed back as codes, and what a codebook loses of them."""

import numpy as np
import pytest

from swirl_lightning.codecs import CodecForm, Layout
from swirl_lightning.codecs.picture import PictureCodec
from swirl_lightning.codecs.tiles import Tiles, cut
from swirl_lightning.models import ScratchPictureLM
from swirl_lightning.pictures import (
    is_picture,
    name_picture,
    pixels,
    place_picture,
    psnr,
    read_codes,
    write_codes,
    write_image,
)
from swirl_lightning.types import InputError, Transition

CELL, ROWS, COLUMNS, CODES = 4, 2, 3, 7
FIRST = 300
RNG = np.random.default_rng(0)
TILES = RNG.integers(0, 256, (5, CELL, CELL, 3), np.uint8)


def drawn(codes):
    """A picture of these tiles, put together one by one."""
    picture = np.zeros((ROWS * CELL, COLUMNS * CELL, 3), np.uint8)
    for place, code in enumerate(codes):
        r, c = place // COLUMNS * CELL, place % COLUMNS * CELL
        picture[r : r + CELL, c : c + CELL] = TILES[code]
    return picture


A, B = (0, 1, 2, 3, 4, 0), (0, 4, 2, 3, 4, 1)


@pytest.fixture
def states(tmp_path):
    return [place_picture(tmp_path, drawn(codes)) for codes in (A, B)]


@pytest.fixture(params=["full", "delta", "full, places"])
def base(request):
    size, places = (COLUMNS * CELL, ROWS * CELL), request.param.endswith("places")
    return ScratchPictureLM(size, cell=CELL, codes=CODES, vocab_size=FIRST, places=places)


@pytest.fixture
def codec(base, request, states):
    form = request.node.callspec.params["base"].partition(",")[0]
    return base.codec([*states, "turn left", "go on"], CodecForm({"": Layout()}, form, 100))


def test_a_picture_is_what_it_shows(tmp_path, states):
    for name in ("first.png", "again.png"):
        write_image(tmp_path / name, drawn(A))
    write_image(tmp_path / "turned.png", drawn(A).swapaxes(0, 1))
    assert name_picture(tmp_path / "first.png") == name_picture(tmp_path / "again.png") == states[0]
    assert name_picture(tmp_path / "turned.png") not in states  # the same bytes can be of another size
    assert is_picture(states[0])
    assert np.array_equal(pixels(states[0]), drawn(A))
    flat = np.zeros((2, 8, 3), np.uint8)
    assert place_picture(tmp_path, flat) != place_picture(tmp_path, flat.reshape(4, 4, 3))


def test_tiles_are_lossless_where_they_are_known():
    codebook = Tiles.of([drawn(A), drawn(B)], CELL, CODES)
    for codes in (A, B):
        assert np.array_equal(codebook.decode(codebook.encode(drawn(codes))), drawn(codes))
    again = Tiles.restore(codebook.saved())
    assert again.name == codebook.name
    assert np.array_equal(again.encode(drawn(B)), codebook.encode(drawn(B)))
    assert Tiles.of([drawn(B), drawn(A)], CELL, CODES).name == codebook.name  # in whatever order they come
    assert Tiles.of([drawn(A)], CELL, CODES + 1).name != codebook.name


def test_a_tile_that_is_new_gets_the_nearest_code():
    codebook = Tiles.of([drawn(A)], CELL, CODES)
    near = drawn(A).astype(int)
    near[0, 0] += 1 if near[0, 0].max() < 255 else -1
    assert np.array_equal(codebook.encode(near.astype(np.uint8)), codebook.encode(drawn(A)))


def test_more_tiles_than_codes_are_refused():
    with pytest.raises(InputError, match=r"model\.base\.codes: found 4, .* made of 5 distinct tiles of 4 x 4 pixels"):
        Tiles.of([drawn(A)], CELL, 4)


def test_codes_as_a_state(codec):
    codes_RC = np.array(A).reshape(ROWS, COLUMNS)
    state = write_codes(codec.codebook, codes_RC)
    assert state.split("\n")[1:] == ["0,0 0", "0,1 1", "0,2 2", "1,0 3", "1,1 4", "1,2 0"]
    assert np.array_equal(read_codes(state)[1], codes_RC)
    assert np.array_equal(pixels(state), codec.codebook.decode(codes_RC))
    for wrong in (
        state.replace("2x3", "3x2"), state.replace("1,2 0", "1,2 7"), state.replace("1,2 0", "1,2 x"),
        state.replace("tiles", "tile"), state + "\n2,0 1", state.replace("1,1 4\n", ""), "codes:",
    ):  # fmt: skip
        with pytest.raises(InputError, match="expected codes of this model"):
            read_codes(wrong)


def test_ids(codec, states):
    """By hand: of whole pictures a code a cell, with its place or without; of changes those of cells that change."""
    code = codec.encode(Transition("e", 0, *states, "turn left"))
    a, b = (codec.codebook.encode(drawn(codes)).flatten().tolist() for codes in (A, B))
    if codec.state_form == "full" and codec.placed:
        assert code.x == tuple(FIRST + place * CODES + i for place, i in enumerate(a))
        assert code.y == tuple(FIRST + place * CODES + i for place, i in enumerate(b))
        assert codec.num_ids == FIRST + ROWS * COLUMNS * CODES
    elif codec.state_form == "full":
        assert code.x == tuple(FIRST + i for i in a)
        assert code.y == tuple(FIRST + i for i in b)
        assert codec.num_ids == FIRST + CODES
    else:
        assert code.x == tuple(FIRST + place * CODES + i for place, i in enumerate(a))
        assert code.y == (FIRST + CODES + b[1], FIRST + 5 * CODES + b[5])
        assert codec.num_ids == FIRST + ROWS * COLUMNS * CODES + 1
    assert codec.answers["fwm"].row(code.y)[: len(code.y)] == code.y
    assert codec.answers["idm"].row(code.z)[-1] == codec.eos
    assert codec.action(code.z) == "turn left"
    assert codec.next_state(states[0], code.y) == codec.comparable(states[1])
    assert codec.question(states[0], "turn left") == code.prompts.forward(code.x, code.z)


def test_first_and_last_code(codec):
    """Of the first and the last cell; what lies beyond is no answer."""
    last = np.full((ROWS, COLUMNS), CODES - 1)
    first = np.zeros((ROWS, COLUMNS), int)
    before, after = (write_codes(codec.codebook, codes) for codes in (first, last))
    code = codec.encode(Transition("e", 0, before, after, "go on"))
    assert codec.next_state(before, code.y) == after
    allowed = codec.answers["fwm"].allowed
    assert code.x[0] == allowed[0] == FIRST
    assert code.y[-1] == allowed[1] - (codec.state_form == "delta")
    for wrong in (FIRST - 1, allowed[1] + 1):
        with pytest.raises(ValueError, match="found the id"):
            codec.answers["fwm"].row((*code.y[:-1], wrong))


def test_what_a_model_writes_is_fed_back_as_it_is(codec, states):
    """Two codes may look alike; through pixels they would become one."""
    spare = write_codes(codec.codebook, np.full((ROWS, COLUMNS), CODES - 1))  # stands for nothing: black, as CODES - 2
    other = write_codes(codec.codebook, np.full((ROWS, COLUMNS), CODES - 2))
    assert np.array_equal(pixels(spare), pixels(other))
    assert codec.encode_states([spare]) != codec.encode_states([other])
    assert codec.comparable(spare) == spare


def test_cells_out_of_order_are_no_state(codec, states):
    code = codec.encode(Transition("e", 0, *states, None))
    if codec.state_form == "full":
        assert codec.next_state(states[0], code.y[:-1]) is None
        turned = codec.next_state(states[0], code.y[::-1])
        assert (
            turned is None
            if codec.placed
            else turned == write_codes(codec.codebook, read_codes(codec.comparable(states[1]))[1][::-1, ::-1])
        )
        return
    assert codec.next_state(states[0], code.y[::-1]) is None
    assert codec.next_state(states[0], (code.y[0], code.y[0])) is None
    assert codec.next_state(states[0], ()) == codec.comparable(states[0])
    assert codec.show(code.y) == " ".join(
        f"{place // COLUMNS},{place % COLUMNS} {codec.codebook.encode(drawn(B)).flatten()[place]}" for place in (1, 5)
    )


def test_another_size_is_refused_by_its_row(codec, states, tmp_path):
    small = place_picture(tmp_path, drawn(A)[:CELL])
    told = r"^episode 'e' step 3: found a picture of 12 x 4 pixels, expected 12 x 8 \(model\.base\.picture_size\)"
    for pair in ((small, states[0]), (states[0], small)):
        with pytest.raises(InputError, match=told):
            codec.encode(Transition("e", 3, *pair, None))
    with pytest.raises(InputError, match=r"step 3: found the state 'a text', expected a picture"):
        codec.encode(Transition("e", 3, "a text", states[0], None))
    with pytest.raises(InputError, match="^found a picture of 12 x 4 pixels"):
        codec.question(small, "go on")


def test_a_codec_from_a_checkpoint_is_the_same(base, codec, states):
    again = base.restore_codec(codec.saved(), CodecForm({"": Layout()}, codec.state_form, 100))
    step = Transition("e", 0, *states, "turn left")
    assert again.encode(step) == codec.encode(step)
    assert again.identity() == codec.identity()


def test_what_is_lost_in_numbers(states, tmp_path):
    """Of a picture with one tile that the codebook lacks: one cell of twelve, and the PSNR of that error."""
    tokenizer = ScratchPictureLM((12, 8), vocab_size=FIRST, cell=CELL).tokenizer(["a"], Layout().markers)
    form = CodecForm({"": Layout()}, "delta", 100)
    changed = drawn(A)
    changed[:CELL, :CELL] //= 2
    other = place_picture(tmp_path, changed)
    codec = PictureCodec(tokenizer, Tiles.of([drawn(B)], CELL, CODES), FIRST, (12, 8), form)
    noise, exact = codec.loss([other, states[1], states[1]])
    assert exact == pytest.approx(11 / 12)
    kept = pixels(codec.comparable(other)).astype(float)
    error = ((kept - changed) ** 2).sum() / (2 * changed.size)
    assert noise == pytest.approx(10 * np.log10(255**2 / error))
    assert codec.loss([states[1]]) == (float("inf"), 1.0)
    assert "of 2 pictures the codebook tiles-" in codec.losses([other, states[1]])


def test_psnr_is_that_of_torchmetrics():
    torch = pytest.importorskip("torch")
    from torchmetrics.functional.image import peak_signal_noise_ratio

    a, b = RNG.integers(0, 256, (2, 8, 12, 3), np.uint8)
    expected = peak_signal_noise_ratio(torch.tensor(a).float(), torch.tensor(b).float(), data_range=255.0)
    assert psnr([a], [b]) == pytest.approx(float(expected), abs=1e-4)


def test_cells_of_a_picture():
    assert [tile.tolist() for tile in cut(drawn(B), CELL).reshape(-1, CELL, CELL, 3)] == [TILES[i].tolist() for i in B]


def test_training_pictures_of_another_size_are_refused(states):
    with pytest.raises(InputError, match=r"model\.base\.picture_size: found \[8, 8\], and .*\.png has 12 x 8 pixels"):
        ScratchPictureLM((8, 8), cell=CELL, vocab_size=FIRST).codec(states, CodecForm({"": Layout()}, "delta", 9))
    with pytest.raises(InputError, match="data: found no picture, expected rows with the fields image and next_image"):
        ScratchPictureLM((8, 8), cell=CELL, vocab_size=FIRST).codec(["text"], CodecForm({"": Layout()}, "delta", 9))
    with pytest.raises(InputError, match=r"found \[9, 8\], expected multiples of model\.base\.cell \(4\)"):
        ScratchPictureLM((9, 8), cell=CELL)


def test_what_the_idm_reads(states):
    """Whole pictures where the FWM writes changes; changes cannot be read where ids name no place."""
    base = ScratchPictureLM((COLUMNS * CELL, ROWS * CELL), cell=CELL, codes=CODES, vocab_size=FIRST)
    corpus, t = [*states, "turn left", "go on"], Transition("e", 0, *states)
    written, whole = (base.codec(corpus, CodecForm({"": Layout()}, "delta", 100, r)) for r in ("written", "full"))
    changes = written.encode(t).y
    assert written.encode(t).given == changes == written.given(t, changes)
    assert len(changes) == 2
    assert len(whole.encode(t).given) == ROWS * COLUMNS
    assert whole.encode(t).given == whole.given(t, changes) == whole.encode_states([t.next_state])[0]
    with pytest.raises(InputError, match=r"model\.idm\.reads: found delta"):
        base.codec(corpus, CodecForm({"": Layout()}, "full", 100, "delta"))
    base.places = True  # ids of whole pictures name them too
    placed = base.codec(corpus, CodecForm({"": Layout()}, "full", 100, "delta"))
    assert placed.encode(t).given == placed.given(t, placed.encode(t).y) == changes
