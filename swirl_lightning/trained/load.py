"""A trained run, ready to be asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser

from swirl_lightning import __version__
from swirl_lightning.codecs import Layout
from swirl_lightning.engine import MicroBatchSizes
from swirl_lightning.modules import SWIRL
from swirl_lightning.modules.checkpoint import read_checkpoint
from swirl_lightning.types import InputError


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
        trained, tensors = saved["swirl"]["tokenizer"], saved["state_dict"]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: found no readable {error} in it; it was written by swirl-lightning "
            f"{saved['swirl'].get('version', 'of an early version')}, this is {__version__}: use the version that "
            "wrote it, or train again"
        ) from error
    try:
        own = model.base.trains_tokenizer
        tokenizer = model.base.restore_tokenizer(trained) if own else model.base.tokenizer((), ())
        model.assemble(tokenizer, place, MicroBatchSizes())
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
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not (isinstance(config, dict) and isinstance(config.get("model"), dict)):
        raise InputError(f"{path}: found no section 'model', expected the file as swirl fit wrote it")
    return config


def _build(run: Path, overrides: dict[str, Any]) -> SWIRL:
    """The module of a run's configuration; nothing is loaded yet."""
    settings = read_config(run)["model"] | {
        "reward": None,
        "vim_reward": None,
    }  # which may be a class that is not at hand, nor asked
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_class_arguments(SWIRL, "model", sub_configs=True)
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
