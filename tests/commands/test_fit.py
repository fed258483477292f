"""``swirl fit``, ``validate``, ``test`` and ``predict``: what a run leaves behind, and what wrong input is told."""

import gzip
import itertools
import json
import os
import re
import struct
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from swirl_lightning import __version__
from swirl_lightning.commands import fit as command
from swirl_lightning.environments.textworld.datamodule import QUICKSTART

CONFIG = Path(__file__).parents[2] / "configs/debug.yaml"
STAGES = ["pretrain", "warmup", "vim-1", "elbo-1"]
METRICS = {
    "fwm/exact_match", "fwm/changed_exact_match", "fwm/copied", "fwm/copy_exact_match",
    "fwm/token_f1", "fwm/delta_f1", "fwm/logp",
    "idm/exact_match", "idm/token_f1", "idm/logp", "idm/unique",
}  # fmt: skip
QUIET = "--trainer.enable_progress_bar=false"


@pytest.fixture(scope="module")
def small_data(tmp_path_factory):
    """The first rows of the packaged data, which are read in no time."""
    folder = tmp_path_factory.mktemp("data")
    for path in QUICKSTART.glob("*.jsonl.gz"):
        with gzip.open(path, "rt") as lines:
            (folder / path.stem).write_text("".join(itertools.islice(lines, 100)))
    return folder


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    """A folder of files that are wrong in one way each."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "log.jsonl").write_text('{"episode": "a", "step": 0, "state": "x", "next_state": "y"}\n{"episode": "a"\n')
    (folder / "random.ckpt").write_bytes(bytes(range(256)) * 20)
    torch.save({"state_dict": {}}, folder / "foreign.ckpt")
    torch.save([1, 2], folder / "list.ckpt")
    os.utime(folder / "list.ckpt", (0, 0))
    (folder / "folder.ckpt").mkdir()
    for name in ("two/a.gguf", "two/b.gguf", "one/a.gguf"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no weights")
    (folder / "empty").mkdir()
    return folder


def results(folder):
    return json.loads((folder / "results.json").read_text())


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.glob("**/*") if path.is_file()}


def float32(value):
    """Lightning logs in single precision."""
    return struct.unpack("f", struct.pack("f", value))[0]


# ---- what a run leaves behind


def test_results_hold_every_stage_in_full(debug_run):
    recorded = results(debug_run[0])
    assert recorded.keys() == {"config", "versions", "seed", "stages"}
    assert recorded["versions"].keys() >= {"swirl-lightning", "python", "torch", "lightning", "transformers"}
    assert recorded["versions"]["swirl-lightning"] == __version__
    assert recorded["seed"] == 0
    assert recorded["config"]["model"]["base"]["init_args"]["hidden_size"] == 32
    assert [stage["stage"] for stage in recorded["stages"]] == STAGES
    for stage in recorded["stages"]:
        assert stage["updates"] == 8
        assert stage["seconds"] > 0
        assert stage["tokens"] >= stage["gradient_tokens"] > 0
        expected = set() if stage["stage"] == "pretrain" else METRICS
        assert stage["metrics"].keys() == stage["validation"].keys() == expected
        assert all(isinstance(value, float) for value in stage["metrics"].values())


def test_history_has_a_row_for_every_update(debug_run):
    rows = [json.loads(line) for line in (debug_run[0] / "history.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["update"]) for row in rows] == [(stage, u) for stage in STAGES for u in range(8)]
    assert all(row.keys() >= {"reward", "kl", "loss", "entropy", "bound"} for row in rows[16:])


def test_samples_are_of_the_same_transitions_after_every_stage(debug_run):
    rows = [json.loads(line) for line in (debug_run[0] / "samples.jsonl").read_text().splitlines()]
    shown = {stage: [(r["episode"], r["step"]) for r in rows if r["stage"] == stage] for stage in STAGES[1:]}
    assert len(rows) == 3 * len(shown["warmup"]) == 36
    assert shown["warmup"] == shown["vim-1"] == shown["elbo-1"]


def test_events_can_be_read_by_tensorboard(debug_run):
    events = EventAccumulator(str(debug_run[0]))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"pretrain/loss", "sft/fwm_loss", "vim/reward", "elbo/reward"} <= tags
    assert {f"{split}/{metric}" for split in ("test", "validation") for metric in METRICS} <= tags
    last = results(debug_run[0])["stages"][-1]["metrics"]["idm/logp"]
    assert events.Scalars("test/idm/logp")[-1].value == float32(last)


def test_output_ends_with_the_table_and_the_places(debug_run):
    folder, out, _ = debug_run
    assert "difference" in out
    assert out.endswith(f"results: {folder / 'results.json'}\nreport:  {folder / 'report.html'}\n")


def test_error_output_holds_what_a_user_can_act_on(debug_run):
    """No word of Lightning's about its own workings."""
    lines = [line for line in debug_run[2].splitlines() if line and "it/s" not in line and "\r" not in line]
    assert {line.split(":")[0] for line in lines} <= {"data", "vim-1", "elbo-1"}, lines


@pytest.mark.parametrize(
    ("command", "split", "key"), [("test", "test", "metrics"), ("validate", "validation", "validation")]
)
def test_evaluation_of_a_checkpoint_gives_the_recorded_numbers(debug_run, command, split, key, swirl):
    before = results(debug_run[0])
    config, place = f"--config={debug_run[0] / 'config.yaml'}", "--trainer.run_version=0"
    code, out, _ = swirl(command, config, place, "--ckpt_path=last", QUIET)
    assert code == 0
    printed = {name: float(value) for name, value in re.findall(rf"{split}/(\w+/\w+)\s+│\s+(\S+)", out)}
    assert printed == {name: float32(value) for name, value in before["stages"][-1][key].items()}
    assert results(debug_run[0]) == before


def test_predictions_are_those_of_the_test_split(debug_run, swirl):
    config = f"--config={debug_run[0] / 'config.yaml'}"
    code, out, _ = swirl("predict", config, QUIET, f"--ckpt_path={debug_run[0] / 'checkpoints/last.ckpt'}")
    assert code == 0
    assert str(debug_run[0] / "predictions.jsonl") in out
    rows = [json.loads(line) for line in (debug_run[0] / "predictions.jsonl").read_text().splitlines()]
    samples = [json.loads(line) for line in (debug_run[0] / "samples.jsonl").read_text().splitlines()]
    assert len(rows) == 16
    assert [{"stage": "elbo-1", **row} for row in rows[:12]] == samples[24:]


def test_a_second_run_from_the_recorded_config_repeats_the_first_and_leaves_it_alone(debug_run, swirl):
    before = contents(debug_run[0])
    code, out, _ = swirl("fit", f"--config={debug_run[0] / 'config.yaml'}", QUIET)
    assert code == 0
    second = debug_run[0].parent / "version_1"
    assert str(second) in out
    assert contents(debug_run[0]) == before
    assert [s["metrics"] for s in results(second)["stages"]] == [s["metrics"] for s in results(debug_run[0])["stages"]]
    assert results(second)["config"] == results(debug_run[0])["config"] | {
        "trainer": results(second)["config"]["trainer"]
    }


def test_a_finished_run_is_continued_by_nothing(debug_run, swirl):
    before = contents(debug_run[0])
    ckpt = f"--ckpt_path={debug_run[0] / 'checkpoints/last.ckpt'}"
    code, out, _ = swirl("fit", f"--config={debug_run[0] / 'config.yaml'}", ckpt)
    assert code == 0
    assert "difference" in out
    assert {path: data for path, data in contents(debug_run[0]).items() if path in before} == before


def test_a_run_that_another_process_trains_is_left_alone(debug_run, swirl):
    """Two that go on from one checkpoint would both write to its history."""
    run, before = debug_run[0], contents(debug_run[0])
    with FileLock(run / "running.lock"):
        code, _, err = swirl("fit", f"--config={run / 'config.yaml'}", f"--ckpt_path={run / 'checkpoints/last.ckpt'}")
        (run / "running.lock").unlink()
    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: {run}: found another process that trains this run")
    assert {path: data for path, data in contents(run).items() if path in before} == before


def test_a_checkpoint_from_elsewhere_takes_over_no_folder(debug_run, tmp_path, swirl):
    (tmp_path / "version_0").mkdir()
    (tmp_path / "version_0/results.json").write_text("precious")
    before = contents(debug_run[0])
    ckpt, root = f"--ckpt_path={debug_run[0] / 'checkpoints/last.ckpt'}", f"--trainer.default_root_dir={tmp_path}"
    assert swirl("fit", f"--config={debug_run[0] / 'config.yaml'}", ckpt, root, QUIET)[0] == 0
    assert (tmp_path / "version_0/results.json").read_text() == "precious"
    assert (tmp_path / "version_1").is_dir()
    assert contents(debug_run[0]) == before


# ---- what each wrong input is told

LOG = "--data=swirl_lightning.environments.log.LogDataModule"
PRETRAINED = "--model.base=swirl_lightning.models.PretrainedLM"


WRONG = {
    "wrong type": (["--model.max_tokens=many"], ["model.max_tokens", "int", "many"]),
    "unknown phase": (["--trainer.warmup=[{phase: dance}]"], ["trainer.warmup", "phase", "dance", "elbo"]),
    "no updates": (["--trainer.warmup=[{phase: sft, updates: 0}]"], ["trainer.warmup", "updates", "sft", "at least 1"]),
    "no stage": (["--trainer.warmup=[]", "--trainer.iterations=0"], ["no stage"]),
    "unknown device": (["--trainer.accelerator=abacus"], ["trainer: ", "abacus"]),
    "batch size": (["--data.batch_size=0"], ["data.batch_size", "found 0", "at least 1"]),
    "too many labels": (["--data.num_labels=9999"], ["data.num_labels", "9999", "at most 100", "null"]),
    "group size": (["--model.fwm.grpo.group_size=1"], ["error: model.fwm.grpo.group_size", "found 1", "at least 2"]),
    "of the other role": (["--model.idm.grpo.anchor=-1"], ["error: model.idm.grpo.anchor: found -1"]),
    "mass": (["--model.idm.sampling.top_p=2"], ["error: model.idm.sampling.top_p: found 2", "at most 1"]),
    "an option that has moved": (
        ["--model.fwm.group_size=4"],
        ["model.fwm", "group_size", "did you mean grpo.group_size"],
    ),
    "misspelt within a group": (
        ["--model.fwm.grpo.grup_size=4"],
        ["--model.fwm: ForwardWorldModel has no option grpo.grup_size; did you mean grpo.group_size?"],
    ),
    "another that has moved": (
        ["--model.lr_warmup=4"],
        ["--model.lr_warmup", "did you mean --model.optimizer.lr_warmup"],
    ),
    "not a number": (["--model.fwm.grpo.beta=.nan"], ["error: model.fwm.grpo.beta: found nan"]),
    "infinite": (["--model.optimizer.gradient_clip=.inf"], ["model.optimizer.gradient_clip", "found inf"]),
    "too long": (
        ["--model.max_tokens=40"],
        ["model.max_tokens: found 40, expected at least", "step", "episode", "too long"],
    ),
    "no data": (["--data.root={wrong}/none"], ["{wrong}/none", "no such file"]),
    "a split missing": (["--data.root={wrong}/empty"], ["{wrong}/empty", "no file", "split labelled"]),
    "malformed log": ([LOG, "--data.path={wrong}/log.jsonl"], ["{wrong}/log.jsonl:2:", "JSON"]),
    "no checkpoint": (["--ckpt_path={wrong}/none.ckpt"], ["--ckpt_path", "none.ckpt", "does not exist"]),
    "random bytes": (["--ckpt_path={wrong}/random.ckpt"], ["random.ckpt", "not a readable checkpoint"]),
    "cut checkpoint": (["--ckpt_path={wrong}/cut.ckpt"], ["cut.ckpt", "not a readable checkpoint"]),
    "flipped bytes": (["--ckpt_path={wrong}/flipped.ckpt"], ["flipped.ckpt", "checksum", "is {wrong}/foreign.ckpt"]),
    "a start of flipped bytes": (["--model.init_from={wrong}/flipped.ckpt"], ["model.init_from", "checksum"]),
    "a checkpoint that is a folder": (["--ckpt_path={wrong}/folder.ckpt"], ["folder.ckpt is a folder"]),
    "foreign checkpoint": (["--ckpt_path={wrong}/foreign.ckpt"], ["foreign.ckpt", "not written by"]),
    "a saved list": (["--ckpt_path={wrong}/list.ckpt"], ["list.ckpt", "not written by"]),
    "other shapes": (
        ["--ckpt_path={run}/checkpoints/last.ckpt", "--model.base.hidden_size=16"],
        ["last.ckpt is of a run that differs", "model.base.init_args.hidden_size (32 there, 16 here)", "config.yaml"],
    ),
    "folder in use": (
        ["--trainer.default_root_dir={run}/..", "--trainer.run_version=0"],
        ["trainer.run_version: 0", "already holds a run", "--ckpt_path last"],
    ),
    "no start": (["--model.init_from={wrong}/none.ckpt"], ["model.init_from", "does not exist"]),
    "no model": ([PRETRAINED, "--model.base.name={wrong}/none"], ["model.base.name", "{wrong}/none"]),
    "empty folder": ([PRETRAINED, "--model.base.name={wrong}/empty"], ["model.base.name", "config.json"]),
    "two GGUF files": ([PRETRAINED, "--model.base.name={wrong}/two"], ["2 GGUF files", "a.gguf, b.gguf"]),
    "no GGUF file": ([PRETRAINED, "--model.base.name={wrong}/one"], ["model.base.name", "a.gguf"]),
}


@pytest.mark.parametrize(("options", "said"), WRONG.values(), ids=WRONG)
def test_wrong_input(debug_run, small_data, wrong, tmp_path, options, said, swirl):
    whole = (debug_run[0] / "checkpoints/last.ckpt").read_bytes()
    (wrong / "cut.ckpt").write_bytes(whole[:5000])
    (wrong / "flipped.ckpt").write_bytes(whole[:90_000] + bytes(b ^ 255 for b in whole[90_000:92_000]) + whole[92_000:])
    places = {"wrong": wrong, "run": debug_run[0]}
    options = [option.replace("{wrong}", str(wrong)).replace("{run}", str(debug_run[0])) for option in options]
    args = ["fit", f"--config={CONFIG}", f"--data.root={small_data}", f"--trainer.default_root_dir={tmp_path}", QUIET]
    code, _, err = swirl(*args, *options)
    assert code == 2
    for part in said:
        assert part.format(**places) in err
    assert not list(tmp_path.glob("version_*/results.json"))


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_folder_in_the_place_of_the_last_checkpoint_is_told(command, tmp_path, small_data, swirl):
    (tmp_path / "version_0/checkpoints/last.ckpt").mkdir(parents=True)
    place = f"--trainer.default_root_dir={tmp_path}"
    code, _, err = swirl(command, GIVEN, f"--data.root={small_data}", place, "--ckpt_path=last", QUIET)
    assert code == 2
    assert "last.ckpt is a folder" in err


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_evaluation_needs_a_trained_model(command, tmp_path, swirl):
    options = [f"--config={CONFIG}", f"--trainer.default_root_dir={tmp_path}"]
    code, _, err = swirl(command, *options)
    assert code == 2
    assert f"swirl {command} needs a trained model" in err
    code, _, err = swirl(command, *options, "--ckpt_path=last")
    assert code == 2
    assert f"no checkpoint under {tmp_path}" in err


GIVEN = f"--config={CONFIG}"
WRONG_OPTIONS = [
    ([], "swirl fit: missing --model.base, --model.fwm, --model.idm, --data"),
    (["--config", "nowhere.yaml"], "nowhere.yaml"),
    ([GIVEN, "--model.max_tokens=many"], "swirl fit: --model.max_tokens: found many, expected int"),
    ([GIVEN, "--model.max_token=9"], "swirl fit: no such option: --model.max_token; did you mean --model.max_tokens?"),
    ([GIVEN, "--trainer.acelerator=cpu"], "did you mean --trainer.accelerator?"),
    ([GIVEN, "--wobble=1"], "swirl fit: no such option: --wobble"),
    ([GIVEN, "--conf=x"], "swirl fit: no such option: --conf; did you mean --config?"),
    ([GIVEN, "more"], "swirl fit: unexpected argument more"),
    ([GIVEN, "--data.num_labls=3"], "--data: TextWorldDataModule has no option num_labls; did you mean num_labels?"),
    ([GIVEN, "--data.batch_size=many"], "swirl fit: --data: batch_size: found many, expected int"),
    ([GIVEN, "--model.state_form=x"], "swirl fit: --model.state_form: found x, expected one of 'full', 'delta'"),
    ([GIVEN, "--model.base=NoBase"], "swirl fit: --model.base: found NoBase, expected a class, package.module.Class"),
    ([GIVEN, "--data=NoData"], "swirl fit: --data: found NoData, expected a class, package.module.Class"),
    ([GIVEN, "--ckpt_path"], "swirl fit: --ckpt_path: expected a value"),
]


@pytest.mark.parametrize(("options", "said"), WRONG_OPTIONS, ids=[said for _, said in WRONG_OPTIONS])
def test_a_wrong_option_is_told_in_one_line(refused, options, said):
    assert said in refused("fit", *options)


def test_what_is_wrong_in_a_file_is_told_with_the_file(refused, tmp_path):
    config = tmp_path / "wrong.yaml"
    config.write_text(re.sub("max_tokens: .*", "max_tokens: many", CONFIG.read_text()))
    assert refused("fit", f"--config={config}") == f"swirl fit: {config}: --model.max_tokens: found many, expected int"
    config.write_text("a: [1,\nb: 2")
    assert f"swirl fit: {config}: " in refused("fit", f"--config={config}")


def test_what_lightning_refuses_is_told_in_one_line(refused, monkeypatch):
    def refuse(*args):
        raise MisconfigurationException("no such thing")

    monkeypatch.setattr(command, "SwirlCLI", refuse)
    assert refused("fit") == "no such thing"


def test_the_data_modules_are_known_by_their_names(swirl):
    """In the help, and in place of their paths."""
    code, out, _ = swirl("fit", "--help")
    assert code == 0
    for name in ("TextWorld", "Physics", "Web", "Tool", "WebTool", "Log", "Mixture"):
        assert re.search(rf"\b{name}DataModule\b", out)
    code, _, err = swirl("fit", f"--config={CONFIG}", "--data=PhysicsDataModule", "--data.path=nowhere")
    assert (code, err.startswith("error: nowhere: no such folder")) == (2, True)
