"""A trained run, ready to be asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser

from swirl_lightning import __version__
from swirl_lightning.codecs import Layout
from swirl_lightning.engine import MicroBatchSizes
from swirl_lightning.models import BaseModel
from swirl_lightning.modules import SWIRL, ForwardWorldModel, InverseDynamicsModel
from swirl_lightning.modules.checkpoint import codec_in, read_checkpoint
from swirl_lightning.modules.evaluation import fingerprint
from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.trained.aliases import check_aliases
from swirl_lightning.types import InputError

CLASSES: dict[str, type] = {"base": BaseModel, "fwm": ForwardWorldModel, "idm": InverseDynamicsModel}
"""What of a run's model is a class, and which it must extend."""
GROUPS = ("grpo", "layout", "optimizer", "sampling")
"""Groups of options, whose place the name of a file could take."""


def load_run(run: Path, checkpoint: Path | None = None, device: str = "auto", **overrides: Any) -> SWIRL:
    """The model of a run as its checkpoint holds it, in evaluation mode and without gradients.

    Args:
        run: the run's folder, with ``config.yaml`` and ``checkpoints/last.ckpt``.
        checkpoint: another checkpoint of the run.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:1``.
        overrides: settings of ``model`` that are not those of the run: ``max_tokens=2048``, or, deeper,
            ``**{"base.name": "/where/the/base/now/lies"}``.

    Raises:
        InputError: there is no such run or checkpoint, they are of another version or do not fit each other, or the
            base model cannot be loaded.
    """
    place = _device(device)
    model = _build(Path(run), overrides)
    path = Path(run) / "checkpoints/last.ckpt" if checkpoint is None else Path(checkpoint)
    saved = read_checkpoint(path, "checkpoint")
    try:
        model.layouts = {name: Layout(*markers) for name, markers in saved["swirl"]["layouts"].items()}
        made, tensors = codec_in(saved["swirl"]), saved["state_dict"]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: found no readable {error} in it; it was written by swirl-lightning "
            f"{saved['swirl'].get('version', 'of an early version')}, this is {__version__}: use the version that "
            "wrote it, or train again"
        ) from error
    try:
        model.assemble(model.base.restore_codec(made, model.form), place, MicroBatchSizes())
    except InputError as error:
        raise InputError(
            f"{error}; settings of the run can be changed, for example --model.base.name=FOLDER for a base model that "
            "lies elsewhere by now"
        ) from error
    model.load_state_dict(tensors)
    model.weights.set_trainable()
    return model.to(place).eval()


def environment_of(model: SWIRL, given: str | None) -> str:
    """The environment whose prompts are used: the one given, or the only one that the run had.

    Raises:
        InputError: the run had no such environment, or several and none is given.
    """
    names = [name for name in model.layouts if name] or [""]
    if given is None and len(names) == 1:
        return names[0]
    if given not in names:
        found = "none" if given is None else repr(given)
        raise InputError(f"--environment: found {found}, expected one of the run's: {', '.join(names) or 'none'}")
    return given


def identity(model: SWIRL, role: GRPOMixin) -> dict[str, Any]:
    """What decides the answers of a role, as JSON can write it; of its weights it is their fingerprint."""
    weights, base = fingerprint(role.policy).hex(), model.weights.base_name
    return {"weights": weights, "base": base, "max_tokens": model.max_tokens, "max_new_tokens": role.max_new_tokens}


def read_config(run: Path) -> dict[str, Any]:
    """The configuration that a run was trained with.

    Raises:
        InputError: the folder is not that of a run.
    """
    path = run / "config.yaml"
    if not path.is_file():
        runs = sorted(child.parent.name for child in run.glob("*/config.yaml"))
        raise InputError(
            f"{run}: {'no config.yaml in it' if run.is_dir() else 'no such folder'}, expected the folder of a run"
            + (f", such as {run / runs[-1]}" if runs else ", such as runs/quickstart/version_0")
        )
    check_aliases(path)
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}; expected the file as swirl fit wrote it") from error
    if not (isinstance(config, dict) and isinstance(config.get("model"), dict)):
        raise InputError(f"{path}: found no section 'model', expected the file as swirl fit wrote it")
    return config


def _build(run: Path, overrides: dict[str, Any]) -> SWIRL:
    """The module of a run's configuration; nothing is loaded yet."""
    # the rewards may be classes that are not at hand, and are not asked
    settings = read_config(run)["model"] | {"reward": None, "vim_reward": None}
    _check_classes(settings, run / "config.yaml")
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_class_arguments(SWIRL, "model")
    changed = [f"--model.{key}={v if isinstance(v, str) else json.dumps(v)}" for key, v in overrides.items()]
    try:
        parsed = parser.parse_args([f"--model={json.dumps(settings)}", *changed])
    except ArgumentError as error:
        reason = " ".join(str(error).split()).rpartition(" - ")[2]
        raise InputError(
            f"{run / 'config.yaml'}: {reason}; options that have been renamed stand in CHANGELOG.md: rename them "
            "in the file, or use the version that made the run"
        ) from error
    model: SWIRL = parser.instantiate(parsed).model
    return model


def _check_classes(settings: dict[str, Any], path: Path) -> None:
    """Refuse classes that are not the project's, nor imported by the program that asks, before anything imports them.

    A run may be a stranger's, and to import a module is to run it.
    """
    for key, expected in CLASSES.items():
        named = settings.get(key)
        found = named.get("class_path") if isinstance(named, dict) else named
        module, _, name = str(found).rpartition(".")
        known = getattr(sys.modules.get(module), name, None)
        if not (isinstance(known, type) and issubclass(known, expected)):
            own = ", ".join(sorted(f"{c.__module__}.{c.__name__}" for c in expected.__subclasses__() or [expected]))
            raise InputError(
                f"{path}: model.{key}: found the class {found!r}, which is not imported for a run that may be a "
                f"stranger's; expected one of the project's, such as {own}; one of your own is taken once your program "
                "has imported its module"
            )
    inner: list[tuple[str, Any]] = [
        (key, value.get("init_args") if key in CLASSES else value)
        for key, value in settings.items()
        if key not in CLASSES or isinstance(value, dict)
    ]
    while inner:
        key, value = inner.pop()
        if (isinstance(value, dict) and "class_path" in value) or (isinstance(value, str) and key in GROUPS):
            raise InputError(
                f"{path}: model: found {value!r} for {key!r}, expected options, no class and no file; options that "
                "have been renamed stand in CHANGELOG.md"
            )
        if isinstance(value, dict | list):
            inner += value.items() if isinstance(value, dict) else ((key, each) for each in value)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"device: found {name!r}, expected auto, cpu, or a GPU that is there, such as cuda "
            f"({str(error).splitlines()[0]})"
        ) from error
    return device
