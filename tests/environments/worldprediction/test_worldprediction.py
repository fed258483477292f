"""WorldPrediction, as SWIRL's release reads its metadata, with videos of a few seconds made here."""

import json
from itertools import pairwise

import numpy as np
import pytest
from small_videos import RATE, make_broken, make_video, scene

from swirl_lightning.environments.video.moments import frame_at
from swirl_lightning.environments.worldprediction import WorldPredictionDataModule
from swirl_lightning.pictures import pixels
from swirl_lightning.types import InputError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two videos, with another scene each second."""
    folder = tmp_path_factory.mktemp("videos")
    for name, seconds in (("a.mp4", 8), ("b.mp4", 4)):
        make_video(folder / name, [scene(n // RATE + (100 if name == "b.mp4" else 0)) for n in range(seconds * RATE)])
    return folder


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "caches"))


def segment(video, n, seconds=1.0, label=None):
    label = f"do {n}" if label is None else label
    times = {"segment_start_time": n * seconds, "segment_end_time": (n + 1) * seconds}
    return {"video": video, "action_label": label, "action_uid": f"u{n}"} | times


def record(video="a.mp4", actions=3, truth=2):
    """What is done is the second of three plans; the others have its actions in another order, or others."""
    done = [segment(video, n) for n in range(actions)]
    named = {f"seg{n}": its for n, its in enumerate(done)} | {"other": segment("c.mp4", 0, label="wait")}
    plan = [f"seg{n}" for n in range(actions)]
    plans = [plan[::-1], plan, ["other", *plan[1:]]] if actions > 1 else [["other"], plan]
    return {
        "original_segments": done, "candidates": plans, "action_segments": named, "ground_truth": truth,
        "states": {"segment_uid": "s"},
    }  # fmt: skip


def bench(folder, made, **records):
    found = records or {"COIN": {"s1": record(), "s2": record(actions=8)}, "EPIC": {"s1": record("b.mp4", 1)}}
    (folder / "metadata.json").write_text(json.dumps(found))
    (folder / "videos/EPIC").mkdir(parents=True, exist_ok=True)
    (folder / "videos/a.mp4").write_bytes((made / "a.mp4").read_bytes())
    (folder / "videos/EPIC/b.mp4").write_bytes((made / "b.mp4").read_bytes())
    return folder


def read(folder, **options):
    data = WorldPredictionDataModule(folder, **options)
    with pytest.warns(UserWarning, match="found no training rows"):
        data.setup()
    return data


def closest(state):
    """The number of the scene that a frame shows."""
    numbers = [*range(9), *range(100, 104)]
    errors = [np.abs(pixels(state).astype(int) - scene(n)).mean() for n in numbers]
    assert min(errors) < 12
    return numbers[int(np.argmin(errors))]


def test_turns_and_frames(tmp_path, made):
    data = read(bench(tmp_path, made))
    assert [(t.episode, t.step, t.action, t.environment) for t in data.test if t.episode != "COIN/s2"] == [
        ("COIN/s1", 0, "do 0", "COIN"), ("COIN/s1", 1, "do 1", "COIN"), ("COIN/s1", 2, "do 2", "COIN"),
        ("EPIC/s1", 0, "do 0", "EPIC"),
    ]  # fmt: skip
    long = [t for t in data.test if t.episode == "COIN/s2"]
    assert len(long) == 6  # of eight actions
    assert [closest(t.state) for t in long] == [0, 1, 2, 3, 4, 5]
    assert [closest(t.next_state) for t in long] == [1, 2, 3, 4, 5, 6]
    assert all(a.next_state == b.state for a, b in pairwise(long))
    assert closest(data.test[-1].state) == 100
    assert list(data.parts()) == ["COIN", "EPIC"]


def test_plans_to_choose_from(tmp_path, made):
    plans = read(bench(tmp_path, made)).plans
    assert [(p.episode[0].episode, len(p.candidates), p.truth) for p in plans] == [("COIN/s1", 3, 1), ("EPIC/s1", 2, 1)]
    for its in plans:
        assert its.candidates[its.truth] == tuple(t.action for t in its.episode)


@pytest.mark.parametrize(("truth", "first"), [(1, 0), (2, 1)])
def test_from_where_plans_are_counted_is_found(tmp_path, made, truth, first):
    bench(tmp_path, made, COIN={"s": record(truth=truth)})
    assert read(tmp_path).plans[0].truth == 1
    assert read(tmp_path, first_plan=first).plans[0].truth == 1


def test_numbers_that_can_be_counted_both_ways_are_refused(tmp_path, made):
    unlike = [segment("a.mp4", n, label=f"as no plan says {n}") for n in range(3)]
    bench(tmp_path, made, COIN={"s": record(truth=1) | {"original_segments": unlike}})
    with pytest.raises(
        InputError, match=r"ground_truth: found numbers that fit counting from 0 and from 1, .*first_plan"
    ):
        WorldPredictionDataModule(tmp_path).setup()
    assert read(tmp_path, first_plan=1).plans[0].truth == 0
    bench(tmp_path, made, COIN={"s": record(truth=7)})
    with pytest.raises(InputError, match="neither 0 nor 1"):
        WorldPredictionDataModule(tmp_path).setup()
    with pytest.raises(InputError, match="COIN: s: ground_truth: found 7, expected one of 3 plans, counted from 1"):
        WorldPredictionDataModule(tmp_path, first_plan=1).setup()


def test_samples_without_their_videos(tmp_path, made):
    bench(tmp_path, made, COIN={"s1": record("none.mp4"), "s2": record()})
    with pytest.raises(InputError, match=r"1 of 2 rows name a file that is not there, the first: .*none\.mp4"):
        WorldPredictionDataModule(tmp_path).setup()
    with pytest.warns(UserWarning, match="they are left out"):
        (data := WorldPredictionDataModule(tmp_path, skip_missing=True)).setup()
    assert {t.episode for t in data.test} == {"COIN/s2"}
    assert [its.episode[0].episode for its in data.plans] == ["COIN/s2"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"candidates": []}, r"COIN: s: candidates: found \[\], expected list"),
        ({"candidates": [["seg0", "what"]]}, r"candidates: 0: found \['seg0', 'what'\], expected a list of names"),
        ({"ground_truth": "2"}, "ground_truth: found '2', expected int"),
        ({"action_segments": {"seg0": {}}}, "action_segments: seg0: action_label: missing"),
        ({"original_segments": [segment("a.mp4", 0) | {"segment_end_time": 0}]}, "the start 0 and the end 0"),
        ({"original_segments": [segment("a.mp4", 0) | {"segment_start_time": "0"}]}, "found '0', expected seconds"),
        ({"original_segments": [segment("a.mp4", 90)]}, r"a\.mp4: found no frame at 90 s, which is after its end"),
    ],
)
def test_what_is_no_record_is_named(tmp_path, made, fields, told):
    bench(tmp_path, made, COIN={"s": record() | fields})
    with pytest.raises(InputError, match=told):
        WorldPredictionDataModule(tmp_path, first_plan=1).setup()


def test_a_video_that_cannot_be_read(tmp_path, made):
    bench(tmp_path, made)
    make_broken(tmp_path)
    for name, told in (("cut.mp4", "found no readable video"), ("sound.mp4", "found no video in it")):
        (tmp_path / "videos/a.mp4").write_bytes((tmp_path / name).read_bytes())
        with pytest.raises(InputError, match=rf"COIN: s1: .*a\.mp4: {told}"):
            WorldPredictionDataModule(tmp_path).setup()


def test_a_frame_by_its_time(made):
    for seconds in (0.0, 0.95, 1.0, 3.4, 3.99, 4.9):
        shown = frame_at(made / "b.mp4", seconds)
        number = min(int(seconds + 0.05), 3)  # 0.95 s has the frame of 1.0 s; 4.9 s is after the last
        assert np.abs(shown.astype(int) - scene(100 + number)).mean() < 12
    with pytest.raises(InputError, match="after its end"):
        frame_at(made / "b.mp4", 5.1)


def test_a_large_frame_is_scaled_down(tmp_path, made):
    data = read(bench(tmp_path, made), longest_side=32)
    assert pixels(data.test[0].state).shape == (24, 32, 3)
