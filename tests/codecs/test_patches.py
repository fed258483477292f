"""A learned codebook: exact where it can be, deterministic, and never worse than the patches that it begins with."""

import numpy as np
import pytest

from swirl_lightning.codecs import patches
from swirl_lightning.codecs.patches import learn_patches
from swirl_lightning.codecs.tiles import Tiles, cut
from swirl_lightning.pictures import psnr

CELL = 4


def photo(seed, size=48):
    """Something smooth with an edge and noise in it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    waves = sum(np.sin(2 * np.pi * (rng.normal() * x + rng.normal() * y) * 2 + rng.normal()) for _ in range(4))
    colors = 128 + 30 * waves[..., None] * rng.normal(size=3) + 60 * (x + y > rng.random() * 2)[..., None]
    return np.clip(colors + rng.normal(0, 3, (size, size, 3)), 0, 255).astype(np.uint8)


PHOTOS = [photo(n) for n in range(6)]


def kept(codebook, pictures):
    return [codebook.decode(codebook.encode(picture)) for picture in pictures]


def test_few_patches_are_kept_exactly():
    picture = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    codebook = learn_patches([picture, picture], CELL, 6)
    assert np.array_equal(kept(codebook, [picture])[0], picture)
    assert codebook.name.startswith("patches-")
    assert Tiles.restore(codebook.saved()).name == codebook.name


def test_more_codes_lose_less_and_new_pictures_are_kept_too():
    quality = [psnr(kept(learn_patches(PHOTOS[:4], CELL, size), PHOTOS[4:]), PHOTOS[4:]) for size in (4, 32, 256)]
    assert quality[0] + 1 < quality[1] < quality[2] - 1
    assert psnr(kept(learn_patches(PHOTOS[:4], CELL, 256), PHOTOS[:4]), PHOTOS[:4]) > quality[2]


def test_it_beats_patches_drawn_at_random():
    """By as much as the rounds of k-means are for."""
    rng = np.random.default_rng(3)
    flat = np.concatenate([cut(picture, CELL).reshape(-1, CELL, CELL, 3) for picture in PHOTOS])
    random = [psnr(kept(Tiles(flat[rng.choice(len(flat), 32)], 32), PHOTOS), PHOTOS) for _ in range(5)]
    assert psnr(kept(learn_patches(PHOTOS, CELL, 32), PHOTOS), PHOTOS) > max(random) + 1


def test_it_is_a_fixed_point_of_naive_k_means(monkeypatch):
    """Every code is the mean of the patches that are nearest to it, each as often as it occurs."""
    monkeypatch.setattr(patches, "ROUNDS", 500)
    pictures = [*PHOTOS[:2], PHOTOS[0]]
    codebook = learn_patches(pictures, CELL, 12)
    flat = np.concatenate([cut(picture, CELL).reshape(-1, CELL * CELL * 3) for picture in pictures]).astype(float)
    means = codebook.tiles_NSS3.reshape(12, -1).astype(float)
    nearest = np.array([((means - x) ** 2).sum(1).argmin() for x in flat])
    for code in range(12):
        assert np.abs(means[code] - flat[nearest == code].mean(0)).max() <= 1.01  # codes are rounded to whole numbers


def test_the_same_pictures_give_the_same_codes():
    assert learn_patches(PHOTOS, CELL, 16).name == learn_patches(PHOTOS[::-1], CELL, 16).name
    assert learn_patches(PHOTOS, CELL, 16, seed=1).name != learn_patches(PHOTOS, CELL, 16).name


def test_codes_are_the_nearest_by_a_naive_search():
    codebook = learn_patches(PHOTOS[:3], CELL, 20)
    codes = codebook.encode(PHOTOS[5])
    for r, row in enumerate(cut(PHOTOS[5], CELL).astype(int)):
        for c, cell in enumerate(row):
            distances = ((codebook.tiles_NSS3.astype(int) - cell) ** 2).sum((1, 2, 3))
            assert distances[codes[r, c]] == distances.min()


@pytest.mark.parametrize("most", [10, 50])
def test_few_patches_are_learned_from_where_there_are_many(most, monkeypatch):
    monkeypatch.setattr(patches, "MOST", most)
    assert len(learn_patches(PHOTOS, CELL, 32).tiles_NSS3) == min(most, 32)
