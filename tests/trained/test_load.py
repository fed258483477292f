"""A run is loaded as it was trained, or the message says why not."""

import ast
import json
import shutil
import struct
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

import swirl_lightning
from swirl_lightning import __version__
from swirl_lightning.models import ScratchLM
from swirl_lightning.trained.load import environment_of, load_run
from swirl_lightning.types import InputError, Transition


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the run that a test may spoil."""
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def test_weights_are_those_of_the_checkpoint(run, model):
    saved = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    own = model.state_dict()
    assert saved.keys() == own.keys()
    for key, value in saved.items():
        assert torch.equal(own[key], value), key
    assert not torch.equal(saved["fwm/model.norm.weight"], saved["idm/model.norm.weight"])


def test_nothing_is_trained_any_more(model):
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_settings_can_be_changed(run):
    model = load_run(run, max_tokens=77, **{"fwm.init_args.max_new_tokens": 5})
    assert (model.max_tokens, model.fwm.max_new_tokens, model.idm.max_new_tokens) == (77, 5, 12)


def test_prompts_are_those_of_the_checkpoint(copy):
    path = copy / "checkpoints/last.ckpt"
    saved = torch.load(path, weights_only=True)
    saved["swirl"]["layouts"]["web"] = ["Page:\n", "\nDo:", "\nThen:\n"]
    torch.save(saved, path)
    model = load_run(copy)
    prompt = model.codec.encode(Transition("e", 0, "a", "b", "c", "web")).prompts.forward((), ())
    assert model.codec.tokenizer.decode(prompt) == "Page:\n\nDo:\nThen:\n"
    assert environment_of(model, None) == "web"  # the only one by name
    model.layouts["tool"] = model.layouts["web"]
    with pytest.raises(InputError, match="--environment: found none, expected one of the run's: web, tool"):
        environment_of(model, None)
    with pytest.raises(InputError, match="found 'moon'"):
        environment_of(model, "moon")


def without(*keys):
    """Takes entries out of a checkpoint."""

    def spoil(run):
        path = run / "checkpoints/last.ckpt"
        saved = torch.load(path, weights_only=True)
        for key in keys:
            del saved["swirl"][key]
        torch.save(saved, path)

    return spoil


def remove(name):
    return lambda run: (run / name).unlink()


def rewrite(old, new):
    """Changes config.yaml."""

    def spoil(run):
        path = run / "config.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return spoil


def flip(copy):
    """One bit in the middle of the largest tensor: between the entries of the file are bytes that say nothing."""
    path = copy / "checkpoints/last.ckpt"
    with zipfile.ZipFile(path) as entries:
        largest = max(entries.infolist(), key=lambda entry: entry.file_size)
    data = bytearray(path.read_bytes())
    header = largest.header_offset  # its last four bytes are the lengths of what follows: the name, and more
    start = header + 30 + sum(struct.unpack("<HH", data[header + 26 : header + 30]))
    data[start + largest.file_size // 2] ^= 1
    path.write_bytes(data)


WRONG = {
    "no run": (shutil.rmtree, {}, ["no such folder", "runs/quickstart/version_0"]),
    "no config": (remove("config.yaml"), {}, ["no config.yaml in it"]),
    "no model": (rewrite("model:", "modle:"), {}, ["config.yaml: found no section 'model'"]),
    "no checkpoint": (remove("checkpoints/last.ckpt"), {}, ["checkpoint: ", "last.ckpt does not exist"]),
    "flipped bytes": (flip, {}, ["checkpoint: ", "last.ckpt", "checksum", "train again"]),
    "older": (without("layouts"), {}, ["no readable 'layouts'", f"swirl-lightning {__version__}", "train again"]),
    "oldest": (without("layouts", "version"), {}, ["of an early version", __version__]),
    "unknown setting": (None, {"max_token": 3}, ["config.yaml", "max_token"]),
    "other shapes": (None, {"base.init_args.num_layers": 1}, ["does not fit", "config.yaml"]),
    "no device": (None, {"device": "abacus"}, ["device: found 'abacus'", "auto, cpu"]),
}


@pytest.mark.parametrize(("spoil", "options", "said"), WRONG.values(), ids=WRONG)
def test_wrong_run(copy, spoil, options, said):
    if spoil:
        spoil(copy)
    with pytest.raises(InputError) as caught:
        load_run(copy, **options)
    for part in said:
        assert part in str(caught.value)


def test_folder_above_the_run_names_the_run(run):
    with pytest.raises(InputError, match="such as .*version_0"):
        load_run(run.parent)


def test_missing_base_is_told_how_to_be_found(copy):
    path = copy / "config.yaml"
    head, _, tail = path.read_text().partition("  base:\n")
    _, _, tail = tail.partition("  fwm:\n")
    base = "  base:\n    class_path: swirl_lightning.models.PretrainedLM\n    init_args:\n      name: /nowhere/base\n"
    path.write_text(f"{head}{base}  fwm:\n{tail}")
    with pytest.raises(InputError) as caught:
        load_run(copy)
    assert "cannot load '/nowhere/base'" in str(caught.value)
    assert "--model.base.name=FOLDER" in str(caught.value)
    with pytest.raises(InputError, match="cannot load '/elsewhere'"):
        load_run(copy, **{"base.name": "/elsewhere"})


# ---- a stranger's run

EVIL = {"class_path": "evil_module.Thing"}
NESTED = {"class_path": "swirl_lightning.models.ScratchLM", "init_args": {"vocab_size": 300, "hidden_size": EVIL}}
STRANGE = {
    "base": {"base": EVIL},
    "base as a text": {"base": "evil_module.Thing"},
    "base with options": {"base": EVIL | {"init_args": {"name": "x"}}},
    "base that is no base": {"base": {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "flag"]}}},
    "base of the project that is none": {"base": {"class_path": "swirl_lightning.modules.SWIRL"}},
    "no class": {"base": {"init_args": {}}},
    "role": {"fwm": EVIL},
    "other role": {"idm": {"class_path": "swirl_lightning.modules.ForwardWorldModel"}},
    "within the base": {"base": NESTED},
    "layout": {"layout": EVIL},
    "optimizer": {"optimizer": EVIL},
    "optimizer as a file": {"optimizer": "evil.yaml"},
    "role as a file": {"fwm": "evil.yaml"},
    "options of a role as a file": {
        "fwm": {"class_path": "swirl_lightning.modules.ForwardWorldModel", "init_args": {"grpo": "evil.yaml"}}
    },
    "engine": {"engine": EVIL},
}


@pytest.mark.parametrize("name", STRANGE)
def test_nothing_that_a_strangers_run_names_is_imported(name, copy, tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'flag')!r}, 'w')\nclass Thing: pass\n")
    (tmp_path / "evil.yaml").write_text("class_path: evil_module.Thing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "evil_module", raising=False)
    path = copy / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"] |= STRANGE[name]
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=r"config\.yaml"):
        load_run(copy)
    assert not (tmp_path / "flag").exists()
    assert "evil_module" not in sys.modules


def test_a_reward_of_others_is_not_asked_for(copy, tmp_path, monkeypatch):
    path = copy / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"] |= {"reward": EVIL, "vim_reward": EVIL}
    path.write_text(yaml.safe_dump(config))
    assert load_run(copy).weights


class OwnBase(ScratchLM):
    """A base of another package."""


def test_a_base_that_the_program_has_imported_is_taken(copy):
    path = copy / "config.yaml"
    path.write_text(path.read_text().replace("swirl_lightning.models.ScratchLM", f"{__name__}.OwnBase"))
    assert isinstance(load_run(copy).base, OwnBase)


WRONG_YAML = {
    "recursive": "model: &m {base: *m}",
    "endless": "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    + "\n".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefg", "bcdefgh", strict=True))
    + "\nmodel: *h",
    "torn": "model: [",
    "no text": b"\xff\xfe\x00",
    "an object": "model: !!python/object/apply:os.system ['touch flag']",
}


@pytest.mark.parametrize("name", WRONG_YAML)
def test_a_configuration_that_is_no_yaml_is_refused(name, copy):
    text = WRONG_YAML[name]
    (copy / "config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=r"config\.yaml") as caught:
        load_run(copy)
    assert "\n" not in str(caught.value)


def test_code_of_a_base_is_never_run(copy, tmp_path):
    """transformers would ask on the terminal whether to."""
    base = tmp_path / "base"
    base.mkdir()
    classes = {"AutoConfig": "odd.Odd", "AutoModelForCausalLM": "odd.Odd", "AutoTokenizer": ["odd.Odd", None]}
    (base / "config.json").write_text(json.dumps({"model_type": "odd", "auto_map": classes}))
    (base / "tokenizer_config.json").write_text(json.dumps({"auto_map": classes, "tokenizer_class": "Odd"}))
    (base / "odd.py").write_text(f"open({str(tmp_path / 'flag')!r}, 'w')\n")
    path = copy / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"]["base"] = {"class_path": "swirl_lightning.models.PretrainedLM", "init_args": {"name": str(base)}}
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=r"model\.base\.name: cannot load"):
        load_run(copy)
    assert not (tmp_path / "flag").exists()


def test_no_call_of_transformers_runs_code_of_others():
    calls = 0
    for path in Path(swirl_lightning.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("from_pretrained", "from_config"):
                given = {word.arg: word.value for word in node.keywords}
                value = given.get("trust_remote_code")
                assert isinstance(value, ast.Constant), f"{path}:{node.lineno}"
                assert value.value is False, f"{path}:{node.lineno}"
                calls += 1
    assert calls >= 5
