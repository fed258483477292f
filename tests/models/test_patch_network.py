"""A codebook that a network learns: its codes follow naive averages, and a checkpoint gives back the same ones."""

import numpy as np
import pytest
import torch

from swirl_lightning.codecs import CodecForm, Layout
from swirl_lightning.codecs.patches import learn_patches
from swirl_lightning.models import ScratchPictureLM, patch_network
from swirl_lightning.models.patch_network import DECAY, Codes, cells_of, learn_network, restore_codebook
from swirl_lightning.pictures import place_picture, psnr

CELL, SIZE = 4, 16


def photo(seed, height=32, width=48):
    """Something smooth."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / height
    waves = sum(np.sin(2 * np.pi * (rng.normal() * x + rng.normal() * y) * 2 + rng.normal()) for _ in range(4))
    return np.clip(128 + 40 * waves[..., None] * rng.normal(size=3), 0, 255).astype(np.uint8)


PHOTOS = [photo(n) for n in range(60)]
SEEN, NEW = PHOTOS[:50], PHOTOS[50:]


def kept(codebook, pictures):
    return [codebook.decode(codebook.encode(picture)) for picture in pictures]


@pytest.fixture(scope="module")
def network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patch_network, "UPDATES", 60)
        patch.setattr(patch_network, "CELLS", 512)
        patch.setattr(patch_network, "LEARNING_RATE", 3e-3)  # there are few updates
        return learn_network(SEEN, CELL, SIZE)


def test_it_keeps_more_of_smooth_pictures_than_the_patches_that_it_begins_with(network):
    """Also of those that it has not seen: what k-means draws has an edge around each patch."""
    patches = learn_patches(SEEN, CELL, SIZE)
    for pictures in (SEEN, NEW):
        assert psnr(kept(network, pictures), pictures) > psnr(kept(patches, pictures), pictures) + 0.15


def test_before_training_it_is_the_patches(monkeypatch):
    monkeypatch.setattr(patch_network, "LEARNING_RATE", 0.0)
    monkeypatch.setattr(patch_network, "UPDATES", 1)
    monkeypatch.setattr(Codes, "follow", lambda *args: None)
    patches, network = learn_patches(PHOTOS[:2], CELL, SIZE), learn_network(PHOTOS[:2], CELL, SIZE)
    assert np.array_equal(network.encode(PHOTOS[0]), patches.encode(PHOTOS[0]))
    differ = kept(network, PHOTOS[:1])[0].astype(int) - kept(patches, PHOTOS[:1])[0]
    assert abs(differ).max() <= 1  # it is held in 16 bits


def test_a_code_follows_from_its_cell_alone(network):
    changed = PHOTOS[0].copy()
    changed[4:8, 8:12] = 255 - changed[4:8, 8:12]
    differ = np.argwhere(network.encode(changed) != network.encode(PHOTOS[0]))
    assert differ.tolist() == [[1, 2]]


def test_pictures_may_have_any_number_of_cells(network):
    assert network.encode(PHOTOS[0]).shape == (8, 12)
    part = PHOTOS[0][8:20, :20]
    assert np.array_equal(network.encode(part), network.encode(PHOTOS[0])[2:5, :5])
    assert network.decode(network.encode(part)).shape == part.shape


def test_a_checkpoint_gives_the_same_codebook(network):
    again = restore_codebook(network.saved())
    assert (again.name, again.size, again.cell) == (network.name, SIZE, CELL)
    codes = network.encode(PHOTOS[11])
    assert np.array_equal(again.encode(PHOTOS[11]), codes)
    assert np.array_equal(again.decode(codes), network.decode(codes))
    patches = learn_patches(PHOTOS[:2], CELL, SIZE)
    assert restore_codebook(patches.saved()).name == patches.name


def test_the_same_seed_gives_the_same_codebook_and_leaves_other_draws_alone(monkeypatch):
    monkeypatch.setattr(patch_network, "UPDATES", 3)
    monkeypatch.setattr(patch_network, "CELLS", 200)
    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    first = learn_network(PHOTOS[:4], CELL, SIZE)
    assert torch.rand(1) == expected
    torch.manual_seed(5)
    assert learn_network(PHOTOS[:4], CELL, SIZE).name == first.name
    assert learn_network(PHOTOS[:4], CELL, SIZE, seed=1).name != first.name


def test_codes_are_naive_moving_averages():
    torch.manual_seed(0)
    codes = Codes(torch.randn(3, 5))
    begun, steps = codes.code_KL.clone(), [torch.randn(40, 5) for _ in range(4)]
    totals, counts = begun.clone(), [1.0] * 3
    for z in steps:
        code = codes.nearest(z)
        assert code.tolist() == [min(range(3), key=lambda k: float(((codes.code_KL[k] - x) ** 2).sum())) for x in z]
        for k in range(3):
            mine = [x for x, its in zip(z, code.tolist(), strict=True) if its == k]
            totals[k] = DECAY * totals[k] + (1 - DECAY) * sum(mine, torch.zeros(5))
            counts[k] = DECAY * counts[k] + (1 - DECAY) * len(mine)
        codes.follow(z, code)
        expected = torch.stack([total / count for total, count in zip(totals, counts, strict=True)])
        torch.testing.assert_close(codes.code_KL, expected, atol=1e-6, rtol=1e-5)


def test_a_code_that_nothing_is_near_to_begins_anew_among_the_data(monkeypatch):
    monkeypatch.setattr(patch_network, "DEAD", 0.999)
    torch.manual_seed(0)
    codes, z = Codes(torch.tensor([[0.0, 0.0], [99.0, 99.0]])), torch.randn(50, 2)
    codes.follow(z, codes.nearest(z))
    assert any(torch.equal(codes.code_KL[1], x) for x in z)
    assert not any(torch.equal(codes.code_KL[0], x) for x in z)


def test_the_gradient_goes_straight_through():
    torch.manual_seed(0)
    network = patch_network.PatchNetwork(torch.randn(SIZE, 3 * CELL**2), CELL)
    x = cells_of(np.stack(PHOTOS[:2]), CELL)
    network.loss(x).backward()
    first = network.read[-1].weight.grad
    assert first is not None
    assert first.abs().max() > 0


def test_a_model_that_asks_for_it_has_it(tmp_path, monkeypatch):
    monkeypatch.setattr(patch_network, "UPDATES", 2)
    base = ScratchPictureLM((48, 32), cell=CELL, codes=SIZE, codebook="network", vocab_size=300)
    states = [place_picture(tmp_path, picture) for picture in PHOTOS[:2]]
    form = CodecForm({"": Layout()}, "delta", 400)
    codec = base.codec([*states, "turn left"], form)
    assert codec.codebook.name.startswith("network-")
    assert "PSNR" in codec.losses(states)
    again = base.restore_codec(codec.saved(), form)
    assert again.encode_states(states) == codec.encode_states(states)
