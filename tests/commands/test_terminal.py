"""What the data says cannot do anything to a terminal: not in output, not in errors, logs or warnings."""

import ast
import json
import logging
import sys
import warnings
from pathlib import Path

import pytest

from swirl_lightning.types import printable

ROOT = Path(__file__).parents[2]
HOSTILE = "\x1b]0;owned\x07\x1b[31mred\x9b2J\r\u202egnp"
SHOWN = r"\x1b]0;owned\x07\x1b[31mred\x9b2J\r\u202egnp"
FIT = ("fit", f"--config={ROOT / 'configs/debug.yaml'}", "--trainer.enable_progress_bar=false")
LOG = ("--data=swirl_lightning.environments.log.LogDataModule", "--data.num_labels=null")


def clean(text):
    return not any(char < " " and char not in "\n\t" for char in text) and not set(text) & set("\x7f\x9b\u202e")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (HOSTILE, SHOWN),
        ("plain ŷ 日本 e\u0301 \xa0 tab\t\nline", "plain ŷ 日本 e\u0301 \xa0 tab\t\nline"),
        ("half \ud83d", r"half \ud83d"),
        ("line\u2028line\x85line\x00", r"line\u2028line\x85line\x00"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown
    assert printable("a\nb", kept="") == r"a\nb"


def test_all_that_is_printed_goes_through_one_place():
    for path in [*ROOT.glob("swirl_lightning/**/*.py"), *ROOT.glob("callbacks/*.py")]:
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        printed = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert len(printed) == (path.name == "types.py"), path


@pytest.mark.parametrize("place", ["field", "episode", "step", "path"])
def test_logs_of_strangers(place, tmp_path, refused):
    row = {"episode": "e", "step": 0, "state": "x", "next_state": "y", "action": "z"}
    path = tmp_path / "log.jsonl"
    if place == "field":
        row[HOSTILE] = 1
        del row["state"]
    elif place == "step":
        row["step"] = HOSTILE
    elif place == "episode":
        row |= {"episode": HOSTILE, "state": "x" * 10_000}
    else:
        path = tmp_path / f"{HOSTILE}.jsonl"
    path.write_text("".join(json.dumps(row | {"step": n} if place == "episode" else row) + "\n" for n in range(40)))
    line = refused(*FIT, *LOG, f"--data.path={path}", f"--trainer.default_root_dir={tmp_path}")
    assert clean(line)


def test_logs_and_warnings(swirl, tmp_path, capsys):
    swirl("rollout", str(tmp_path), "--state=none", "--actions=none")
    logging.getLogger("swirl_lightning.any").warning("%s", HOSTILE)
    assert capsys.readouterr().err == SHOWN + "\n"
    assert SHOWN in warnings.formatwarning(HOSTILE, UserWarning, "file.py", 1)


def test_rollout(run, tmp_path, swirl):
    state, actions = tmp_path / "state.txt", tmp_path / "actions.json"
    state.write_text("door open")
    actions.write_text(json.dumps([f"pull {HOSTILE}", "pull"]))
    code, out, _ = swirl("rollout", str(run), f"--state={state}", f"--actions={actions}")
    assert code in (0, 1)
    assert SHOWN in out
    assert clean(out)


def test_names_of_tools(tmp_path, swirl):
    pytest.importorskip("mcp.client", reason="the extra tool is not installed")
    server = ROOT / "tests/environments/tool/fake_server.py"
    command = f"{sys.executable} {server} {tmp_path / 'calls.log'} painted"
    code, out, _ = swirl("collect", "tool", "--out", str(tmp_path), "--server", command, "--dry_run", "true")
    assert code == 0
    assert SHOWN in out
    assert clean(out)
    _, _, err = swirl("collect", "tool", "--out", str(tmp_path), "--server", command, "--tools", '["none"]')
    assert SHOWN in err
    assert clean(err)
