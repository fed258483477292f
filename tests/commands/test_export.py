"""``swirl export``."""

import pytest
import yaml


def test_both_folders_are_written_once(run, tmp_path, swirl, refused):
    args = ["export", str(run), f"--out={tmp_path / 'out'}"]
    assert swirl(*args)[:2] == (0, f"exported: {tmp_path / 'out/fwm'}\n          {tmp_path / 'out/idm'}\n")
    names = {path.name for path in (tmp_path / "out/fwm").iterdir()}
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= names
    assert "out: already there" in refused(*args)


@pytest.mark.parametrize("merge", [True, False])
def test_merge_is_true_or_false(run, tmp_path, swirl, merge):
    """The model of this run has no adapters: what is exported tells what was asked for."""
    assert swirl("export", str(run), f"--out={tmp_path / 'out'}", "--merge", str(merge).lower())[0] == 0
    assert yaml.safe_load((tmp_path / "out/swirl.json").read_text())["merged"] is merge


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "swirl export: missing --out"),
        (["--out=x", "--merge=maybe"], "swirl export: --merge: found maybe, expected bool"),
        (["--out=x", "--merged=true"], "swirl export: no such option: --merged; did you mean --merge?"),
    ],
)
def test_wrong_options(refused, options, said):
    assert refused("export", "run", *options) == said


def test_a_base_for_a_model_without_one(run, tmp_path, refused):
    said = refused("export", str(run), f"--out={tmp_path / 'out'}", "--base_model=someone/base")
    assert "--base_model: found a run whose model was built from scratch" in said
    assert not (tmp_path / "out").exists()
