"""A run is loaded as it was trained, or the message says why not."""

import shutil

import pytest
import torch

from swirl_lightning import __version__
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


WRONG = {
    "no run": (shutil.rmtree, {}, ["no such folder", "runs/quickstart/version_0"]),
    "no config": (remove("config.yaml"), {}, ["no config.yaml in it"]),
    "no model": (rewrite("model:", "modle:"), {}, ["config.yaml: found no section 'model'"]),
    "no checkpoint": (remove("checkpoints/last.ckpt"), {}, ["checkpoint: ", "last.ckpt does not exist"]),
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
