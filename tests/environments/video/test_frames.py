import numpy as np
import pytest
from small_videos import BLACK, BROKEN, make_broken, make_video, scene

from swirl_lightning.environments.video.frames import Reading, sample_frames
from swirl_lightning.environments.video.likeness import Rule, grey, is_black, is_duplicate, within

RULE = Rule(size=32, duplicate=0.95, black=0.1)


def numbers_of(frames, count=40):
    """Which scenes frames show: the encoder loses a little."""
    known = np.stack([scene(n) for n in range(count)]).astype(int)
    return [int(np.abs(known - frame).mean((1, 2, 3)).argmin()) for frame in frames]


@pytest.mark.parametrize(
    ("every", "expected"),
    [(0.1, list(range(20))), (0.5, [0, 5, 10, 15]), (0.25, [0, 3, 5, 8, 10, 13, 15, 18]), (9, [0])],
)
def test_frames_are_a_stated_time_apart(tmp_path, every, expected):
    path, reading = make_video(tmp_path / "a.mp4", [scene(n) for n in range(20)]), Reading()
    assert numbers_of(sample_frames(path, every, reading)) == expected
    assert reading == Reading(declared=20, counted=True, decoded=20, seconds=pytest.approx(2.0))
    assert reading.lost == 0


def test_time_counts_and_not_the_number_of_the_frame(tmp_path):
    """Frames at 0, 0.1, 0.2, then none until 2.0: moments without a frame have the next one, once."""
    moments = [0, 1, 2, 20, 21, 25, 30]
    path = make_video(tmp_path / "a.mkv", [scene(n) for n in range(7)], moments=moments)
    assert numbers_of(sample_frames(path, 0.5, Reading())) == [0, 3, 5, 6]


def test_what_came_before_an_error_is_given(tmp_path):
    make_broken(tmp_path)
    for name, (fewest, most), said in BROKEN:
        reading = Reading()
        frames = list(sample_frames(tmp_path / name, 0.1, reading))
        assert fewest <= len(frames) <= most, name
        assert reading.decoded == len(frames)
        if "Invalid" in said or "found" in said:
            assert said in reading.problem
        assert reading.problem or reading.lost or name == "damaged.avi"
    assert numbers_of(sample_frames(tmp_path / "cut.mkv", 0.1, Reading()))[:5] == [0, 1, 2, 3, 4]


def test_lost_frames():
    assert Reading(declared=444, counted=True, decoded=68).lost == 376
    assert Reading(declared=20, counted=False, decoded=19).lost == 0, "a length is no count"
    assert Reading(declared=20, counted=False, decoded=10).lost == 10
    assert Reading(declared=None, decoded=3).lost == 0


def test_black_frames_are_known_by_their_share_of_dark_pixels():
    picture = np.full((40, 100, 3), 200, np.uint8)
    for columns, black in ((0, False), (9, False), (10, True), (100, True)):
        seen = picture.copy()
        seen[:, :columns] = 15
        assert is_black(grey(seen, 100), RULE._replace(size=100)) is black
    assert not is_black(grey(np.full_like(picture, 16), 32), RULE)
    assert is_black(grey(BLACK, 32), RULE)


def test_duplicates_are_known_by_their_structure():
    a, b = (grey(scene(n), 32) for n in (0, 1))
    noise = np.random.default_rng(0).integers(-2, 3, a.shape)
    assert is_duplicate(a, a, RULE)
    assert is_duplicate(a, (a + noise).clip(0, 255).astype(np.uint8), RULE)
    assert not is_duplicate(a, b, RULE)
    assert not is_duplicate(a, a, RULE._replace(duplicate=1.1))


def test_pictures_are_scaled_down_and_never_up():
    assert within(np.zeros((100, 50, 3), np.uint8), 60).shape == (60, 30, 3)
    assert within(np.zeros((100, 50, 3), np.uint8), 100).shape == (100, 50, 3)
    np.testing.assert_array_equal(within(scene(0)[::-1], 64), scene(0)[::-1])
