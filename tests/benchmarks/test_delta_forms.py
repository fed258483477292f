import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from swirl_lightning.environments.rows import write_split
from swirl_lightning.environments.splits import SPLITS
from swirl_lightning.types import Transition

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import delta_forms

DEBUG = Path(__file__).parents[2] / "configs" / "debug.yaml"
PAIRS = [
    ("c\nb\na", "c\nb\na\nc d"),  # appended
    ("b\na\nb", "b\na\nb"),  # nothing changes
    ("b\na\nz", "y"),  # longer than full
    ("z\n" + 9 * "b\n" + "a", "z\n" + 6 * "b\n" + "new\n" + 2 * "b\n" + "a"),  # by line number
]
TRANSITIONS = [Transition("e", step, x, y, "go") for step, (x, y) in enumerate(PAIRS)]


class Words:
    """Counts words."""

    def tokenizer(self, corpus, markers):
        return SimpleNamespace(encode=lambda text, add_special_tokens: text.split())


@pytest.fixture
def collection(tmp_path):
    for split in SPLITS:
        rows = [Transition(split, t.step, t.state, t.next_state, "go") for t in TRANSITIONS]
        write_split(tmp_path, split, rows, with_actions=split != "state_only")
    return tmp_path


@pytest.fixture
def words(monkeypatch):
    monkeypatch.setattr(delta_forms, "PretrainedLM", lambda name: Words())


def test_what_is_measured():
    found = delta_forms.measure(TRANSITIONS, lambda text: len(text.split()))
    assert found["transitions"] == 4
    assert found["lines_of_a_state"] == 3
    assert found["tokens"]["full"] == {"mean": 5, "median": 4, "p95": 11, "max": 11}
    # "@ end", "+ c d"; ""; "- b", "- a", "- z", "+ y"; "@ 7", "- b", "+ new"
    assert found["tokens"]["delta"] == {"mean": 4.75, "median": 5.5, "p95": 8, "max": 8}
    for name in ("with_a_line_number", "that_appends", "without_change", "longer_than_full"):
        assert found[f"share_{name}"] == 0.25, name
    assert found["encode_ms"] > 0
    assert found["decode_ms"] > 0


def test_percentiles():
    assert delta_forms.spread(range(1, 101)) == {"mean": 50.5, "median": 50.5, "p95": 95, "max": 100}
    assert delta_forms.spread([7])["p95"] == 7


def test_a_codec_that_loses_text_is_found(monkeypatch):
    monkeypatch.setattr(delta_forms, "decode_delta", lambda x, edit: x)
    with pytest.raises(RuntimeError, match="episode 'e' step 0"):
        delta_forms.measure(TRANSITIONS, len)


def test_entries_stand_side_by_side(collection, words, tmp_path):
    out = tmp_path / "results" / "forms.json"
    first = delta_forms.main(["--collection", str(collection), "--name", "a", "--out", str(out)])
    delta_forms.main(["--collection", str(collection), "--name", "b", "--out", str(out), "--split", "state_only"])
    delta_forms.main(["--collection", str(collection), "--name", "b", "--out", str(out), "--split", "validation"])
    entries = json.loads(out.read_text())
    assert entries["a"] == first
    assert entries["b"]["split"] == "validation"
    assert list(entries) == ["a", "b"]


def test_both_forms_are_trained_with_room_for_their_longest_answer(words, tmp_path, monkeypatch):
    commands = []

    def run(command, check):
        commands.append(command)
        for version in (2, 10):
            folder = Path(command[command.index("--trainer.default_root_dir") + 1]) / f"version_{version}"
            folder.mkdir(parents=True, exist_ok=True)
            stage = {
                "stage": "vim-1",
                "seconds": version,
                "updates": 4,
                "gradient_tokens": 7,
                "metrics": {"fwm/logp": -1},
            }
            (folder / "results.json").write_text(json.dumps({"stages": [stage]}))

    monkeypatch.setattr(delta_forms.subprocess, "run", run)
    where = ["--out", str(tmp_path / "forms.json"), "--runs", str(tmp_path / "runs")]
    entry = delta_forms.main(["--config", str(DEBUG), *where, "--train", "--", "--trainer.iterations", "1"])
    assert 0 < entry["tokens"]["delta"]["mean"] < entry["tokens"]["full"]["mean"]
    assert [command[command.index("--model.state_form") + 1] for command in commands] == ["full", "delta"]
    for form, command in zip(("full", "delta"), commands, strict=True):
        room = command[command.index("--model.fwm.init_args.max_new_tokens") + 1]
        assert int(room) == entry["tokens"][form]["max"] + 1
        assert command[-2:] == ["--trainer.iterations", "1"]
        assert entry["runs"][form]["stages"] == [
            {"stage": "vim-1", "seconds_per_update": 2.5, "gradient_tokens": 7, "metrics": {"fwm/logp": -1}}
        ]


def test_training_needs_a_configuration(collection, capsys):
    with pytest.raises(SystemExit):
        delta_forms.main(["--collection", str(collection), "--train"])
    assert "--train needs --config" in capsys.readouterr().err
