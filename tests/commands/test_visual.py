"""From videos to judged pictures, as commands: collect, fit, test, predict and judge."""

import base64
import json

import numpy as np
import pytest
import yaml
from fake_judge import FakeJudge, completion, serving
from small_videos import RATE, make_video, scene

from swirl_lightning.callbacks.predictions import episodes_of
from swirl_lightning.commands import main
from swirl_lightning.environments.video import clip, pool
from swirl_lightning.modules import open_loop
from swirl_lightning.pictures import fitted, read_image
from swirl_lightning.types import InputError, Transition

SIZE = (32, 24)
LABELS = 24
BASE = {
    "seed_everything": 0,
    "trainer": {
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "warmup": [{"phase": "sft", "updates": 2, "learning_rate": 1e-3}],
        "iteration": [{"phase": "vim", "updates": 2}, {"phase": "elbo", "updates": 2}],
        "iterations": 1,
    },
    "model": {
        "base": {
            "class_path": "swirl_lightning.models.ScratchPictureLM",
            "init_args": {
                "picture_size": list(SIZE), "codebook": "patches", "codes": 16, "fit": "pad", "vocab_size": 300,
                "hidden_size": 32, "num_layers": 1, "num_heads": 2,
            },
        },
        "state_form": "full",
        "max_tokens": 128,
        "fwm": {"class_path": "swirl_lightning.modules.ForwardWorldModel",
                "init_args": {"max_new_tokens": 12, "grpo": {"group_size": 2}}},
        "idm": {"class_path": "swirl_lightning.modules.InverseDynamicsModel",
                "init_args": {"max_new_tokens": 8, "grpo": {"group_size": 2}}},
    },
}  # fmt: skip


def write_config(path, data, **trainer):
    config = BASE | {
        "trainer": BASE["trainer"] | {"default_root_dir": str(path.parent / "run")} | trainer,
        "data": data,
    }
    path.write_text(yaml.safe_dump(config))
    return f"--config={path}"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run of two updates a phase on what ``swirl collect video`` makes of four videos."""
    root = tmp_path_factory.mktemp("visual")
    (root / "videos").mkdir()
    for n in range(4):  # of two sizes
        pictures = [scene(100 * n + k // RATE, *((48, 64) if n % 2 else (64, 48))) for k in range(10 * RATE)]
        make_video(root / f"videos/{n}.mp4", pictures)
    with pytest.MonkeyPatch.context() as here:  # videos are read by this process: starting others takes seconds
        here.setattr(pool, "_read_together", lambda jobs, _: ((job, clip.read_clip(job)) for job in jobs))
        assert main(["collect", "video", str(root / "videos"), "--out", str(root / "log"), "--every", "1"]) == 0
    rows = [json.loads(line) for line in (root / "log/log.jsonl").read_text().splitlines()]
    assert len(rows) == 36
    log = [row | {"action": f"go on to {row['step'] + 1}"} if n < LABELS else row for n, row in enumerate(rows)]
    (root / "log/some.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))  # as a person labels some
    data = {
        "class_path": "swirl_lightning.environments.log.LogDataModule",
        "init_args": {"path": str(root / "log/some.jsonl"), "batch_size": 2},
    }
    assert main(["fit", write_config(root / "video.yaml", data)]) == 0
    return root


def test_a_run_on_a_log_of_videos(place):
    results = json.loads((place / "run/version_0/results.json").read_text())
    assert [(stage["phase"], stage["updates"]) for stage in results["stages"]] == [("sft", 2), ("vim", 2), ("elbo", 2)]
    metrics = results["stages"][-1]["metrics"]
    assert 0 < metrics["fwm/psnr"] < 60
    assert np.isfinite([metrics[name] for name in ("fwm/ssim", "fwm/logp", "idm/logp")]).all()
    assert (place / "run/version_0/report.html").read_text().count("data:image/png;base64,") > 10


@pytest.fixture(scope="module")
def bench(place):
    """WorldPrediction's layout around the same videos; two samples of three turns, with plans in two orders."""
    records = {}
    for n in (0, 1):
        segments = [
            {
                "video": f"{n}.mp4", "segment_start_time": k, "segment_end_time": k + 1,
                "action_label": f"go on to {k + 1}",
            }
            for k in range(3)
        ]  # fmt: skip
        records[f"s{n}"] = {
            "original_segments": segments,
            "action_segments": {f"seg{k}": its for k, its in enumerate(segments)},
            "candidates": [["seg2", "seg1", "seg0"], ["seg0", "seg1", "seg2"]],
            "ground_truth": 1,
        }
    (place / "metadata.json").write_text(json.dumps({"COIN": records}))
    data = {
        "class_path": "swirl_lightning.environments.worldprediction.WorldPredictionDataModule",
        "init_args": {
            "path": str(place), "train": {
                "class_path": "swirl_lightning.environments.log.LogDataModule",
                "init_args": {"path": str(place / "log/some.jsonl")},
            },
        },
    }  # fmt: skip
    callbacks = [
        {"class_path": f"swirl_lightning.callbacks.{name}", "init_args": options}
        for name, options in (("PlanChoice", {"samples": 2}), ("PredictionWriter", {"open_loop": True}))
    ]
    return write_config(place / "worldprediction.yaml", data, callbacks=callbacks, logger=False)


@pytest.fixture(autouse=True)
def caches(place, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(place / "caches"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def checkpoint(place):
    return f"--ckpt_path={place / 'run/version_0/checkpoints/last.ckpt'}"


def test_plans_are_chosen(place, bench, swirl):
    code, out, _ = swirl("test", bench, checkpoint(place))
    assert code == 0
    for name in ("fwm/choice_likelihood", "idm/choice_likelihood", "fwm/choice_similarity", "fwm/choice_chance"):
        assert f"test/{name}" in out
    assert "0.5" in out.split("test/fwm/choice_chance")[1].splitlines()[0]


def test_turns_are_predicted_from_the_first_picture_and_judged(place, bench, swirl, monkeypatch):
    asked, said, real = [], [], open_loop.predict_next

    def watch(model, states, *others):
        found = real(model, states, *others)
        asked.append(list(states))
        said.append([its.state for its in found])
        return found

    monkeypatch.setattr(open_loop, "predict_next", watch)
    code, out, _ = swirl("predict", bench, checkpoint(place))
    assert code == 0
    assert len(asked) == 3
    assert all(state.startswith("picture:") for state in asked[0])
    assert asked[1:] == said[:2]  # it goes on from its own pictures
    path = place / "run/version_0/predictions.jsonl"
    assert f"predictions: {path}" in out
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["episode"], row["step"]) for row in rows] == [(f"COIN/s{n}", k) for n in (0, 1) for k in range(3)]
    for row in rows:
        assert not {"state", "next_state", "predicted_next_state"} & row.keys()
        for field in ("image", "next_image", "predicted_next_image"):
            assert read_image(path.parent / row[field]).shape == (SIZE[1], SIZE[0], 3)
    assert rows[0]["next_image"] == rows[1]["image"]
    shown = read_image(path.parent / rows[3]["image"])
    true = fitted(scene(100, 48, 64), SIZE)  # from which the video differs by its compression
    assert np.abs(shown.astype(int) - true).mean() < 12

    scores = iter(range(1, 7))
    with serving(FakeJudge(lambda body: completion(json.dumps({"score": next(scores)})))) as judge:
        options = ("--rubric=worldprediction", f"--url={judge.url}", "--model=m", "--parallel=1")
        code, out, _ = swirl("judge", str(path.parent), *options)
    assert code == 0
    summary = json.loads((path.parent / "judge-worldprediction/summary.json").read_text())["stages"]["all"]
    assert summary["turns"] == {
        "1": {"score": 2.5, "n": 2}, "2": {"score": 3.5, "n": 2}, "3": {"score": 4.5, "n": 2}
    }  # fmt: skip
    body = json.dumps(judge.bodies[0])
    assert "go on to 1" in body
    for field in ("image", "next_image", "predicted_next_image"):
        assert base64.b64encode((path.parent / rows[0][field]).read_bytes()).decode() in body


def test_steps_that_are_left_out_are_no_rollout():
    steps = [Transition("e", k, f"s{k}", f"s{k + 1}", "z", "w") for k in range(4)]
    other = Transition("f", 0, "s0", "s1", "z", "w")
    assert episodes_of([steps[1], other, steps[0], steps[2]]) == [steps[:3], [other]]
    for left in (steps[1:], [steps[0], steps[2]]):
        with pytest.raises(InputError, match=r"open_loop: episode 'e' has a gap, .*data\.eval_limit leaves steps out"):
            episodes_of([*left, other])
