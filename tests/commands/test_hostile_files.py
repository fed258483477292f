"""Files that are wrong in ways that a parser does not expect end in one line."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
DIGITS, DEEP = "9" * 5000, "[" * 100_000 + "]" * 100_000
ROW = {"episode": "e", "step": 0, "state": "x", "next_state": "y", "action": "z"}
FIT = ("fit", f"--config={ROOT / 'configs/debug.yaml'}", "--trainer.enable_progress_bar=false")
LOG = ("--data=swirl_lightning.environments.log.LogDataModule", "--data.num_labels=null")


def row(**fields):
    return json.dumps(ROW | fields)


LOGS = {
    "a step of 5,000 digits": (f'{{"episode": "e", "step": {DIGITS}, "state": "x", "next_state": "y"}}', "digits"),
    "another field of 5,000 digits": (row()[:-1] + f', "reward": {DIGITS}}}', "digits"),
    "a quoted step of 5,000 digits": (row(step=DIGITS), "step: found"),
    "a step beyond 64 bits": (row(step=2**63), "below 2**63"),
    "deep JSON": (f'{{"episode": {DEEP}}}', "recursion"),
    "half a surrogate pair": (row(state="x \ud83d"), "half a surrogate pair"),
    "half a pair in a name": (row(episode="x \udc00"), "half a surrogate pair"),
}


@pytest.mark.parametrize(("line", "said"), LOGS.values(), ids=LOGS)
@pytest.mark.parametrize("command", ["fit", "label"])
def test_logs(command, line, said, tmp_path, refused, request):
    path = tmp_path / "log.jsonl"
    path.write_text(row(episode="first") + "\n" + line)
    if command == "fit":
        args = (*FIT, *LOG, f"--data.path={path}", f"--trainer.default_root_dir={tmp_path}")
    else:
        args = ("label", str(request.getfixturevalue("run")), str(path), f"--out={tmp_path / 'out.parquet'}")
    told = refused(*args)
    assert told.startswith(f"{path}:2: ")
    assert said in told
    assert len(told) < 500


def test_text_in_parquet_that_is_no_utf8(tmp_path, refused):
    bad = pa.array([b"\xff\xfe"] * 9, pa.binary())
    table = pa.table({name: pa.array([value] * 9) for name, value in ROW.items()})
    pq.write_table(
        table.set_column(2, "state", pa.Array.from_buffers(pa.string(), 9, bad.buffers())), tmp_path / "l.parquet"
    )
    told = refused(*FIT, *LOG, f"--data.path={tmp_path / 'l.parquet'}", f"--trainer.default_root_dir={tmp_path}")
    assert "l.parquet: found no readable Parquet ('utf-8' codec" in told


@pytest.mark.parametrize("text", [DEEP, f"[{DIGITS}]", '["x \\ud83d"]'], ids=["deep", "digits", "half a pair"])
def test_actions(text, run, tmp_path, refused):
    (tmp_path / "state.txt").write_text("x")
    (tmp_path / "actions.json").write_text(text)
    told = refused("rollout", str(run), f"--state={tmp_path / 'state.txt'}", f"--actions={tmp_path / 'actions.json'}")
    assert told.startswith(f"--actions: {tmp_path / 'actions.json'}: ")


@pytest.mark.parametrize("name", ["results.json", "history.jsonl", "samples.jsonl"])
@pytest.mark.parametrize("text", [DEEP, f'{{"stage": {DIGITS}}}'], ids=["deep", "digits"])
def test_files_of_a_run(name, text, copy_of_run, refused):
    (copy_of_run / name).write_text(text + "\n{}\n")
    assert refused("report", str(copy_of_run)).startswith(f"{copy_of_run / name}")


@pytest.mark.parametrize("text", ["[" * 3000, f"a: {DIGITS}", "model: " + "{a: " * 3000, "\x00"])
def test_configurations(text, copy_of_run, tmp_path, refused):
    path = copy_of_run / "config.yaml"
    path.write_text(text)
    assert str(path) in refused("fit", f"--config={path}")
    assert str(path) in refused("plan", f"--config={path}")
    assert str(path) in refused("label", str(copy_of_run), "none.jsonl", f"--out={tmp_path / 'out.jsonl'}")


def test_an_option_of_5000_digits(refused):
    assert refused(*FIT, f"--model.max_tokens={DIGITS}").startswith("swirl fit: ")


@pytest.mark.parametrize(
    ("args", "place", "code"),
    [
        (["--help"], "gone", 141),
        (["plan", f"--config={ROOT / 'configs/debug.yaml'}"], "gone", 141),
        (["fit", "--help"], "gone", 141),
        (["--help"], "full", 2),
        (["--help"], "closed", 0),
    ],
)
def test_an_output_that_takes_nothing(args, place, code):
    """As ``swirl ... | head -0``, ``> /dev/full`` and ``>&-`` have it; output is buffered until the end."""
    ends = {"gone": "| head -0; exit ${PIPESTATUS[0]}", "full": "> /dev/full", "closed": ">&-"}
    command = f'"$0" -m swirl_lightning "$@" {ends[place]}'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, *args], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code
    assert done.stderr == ("error: the system: No space left on device\n" if place == "full" else "")
