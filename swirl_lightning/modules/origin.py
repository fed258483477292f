"""What decides a run's numbers, as a checkpoint keeps it, so that a run that goes on from there is the same run."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import PurePath
from typing import Any

from swirl_lightning.environments.table import hash_of
from swirl_lightning.modules.schedule import NamedStage
from swirl_lightning.types import InputError

PASSING = ("model.micro_batch", "model.engine", "model.init_from", "model.base.init_args.gradient_checkpointing")
"""Settings that may change: they decide where and how numbers are computed, and not which."""

NAME = "model.base.init_args.name"
"""Compared without its folder: the base model may lie elsewhere by now."""


def settings_of(value: Any) -> Any:
    """A setting as plain values: an object by its class and the arguments that it keeps as attributes."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): settings_of(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [settings_of(entry) for entry in value]
    if isinstance(value, PurePath):
        return str(value)
    kind = value if hasattr(value, "__qualname__") else type(value)  # a class or a function stands for itself
    path = f"{kind.__module__}.{kind.__qualname__}"
    if is_dataclass(kind):
        return {"class_path": path} | {field.name: settings_of(getattr(value, field.name)) for field in fields(value)}
    return {"class_path": path, "init_args": arguments_of(value)}


def arguments_of(value: Any) -> dict[str, Any]:
    """The arguments of an object and of the classes that it extends, so far as it keeps them under their names."""
    names = [name for kind in type(value).__mro__[:-1] if "__init__" in vars(kind) for name in _parameters(kind)]
    return {name: settings_of(getattr(value, name)) for name in dict.fromkeys(names) if hasattr(value, name)}


def origin_of(model: Any, data: Any, schedule: Sequence[NamedStage], processes: int) -> dict[str, Any]:
    """What decides a run's numbers.

    Args:
        model: the SWIRL.
        data: the data module, set up.
        schedule: the stages.
        processes: their number.
    """
    its_data = {"batch_size": data.batch_size, "seed": data.seed, "weights": settings_of(data.weights)}
    rows = {split: hash_of(getattr(data, split)) for split in ("labelled", "state_only", "validation", "test")}
    settings = {"model": arguments_of(model), "data": its_data | rows, "number of processes": processes}
    flat = dict(_flat(settings))
    flat = {key: value for key, value in flat.items() if key not in PASSING and not key.startswith("model.layout")}
    if isinstance(flat.get(NAME), str):
        flat[NAME] = PurePath(flat[NAME]).name
    stages = [{"name": stage.name, **asdict(stage.stage)} for stage in schedule]
    return {"settings": flat, "stages": stages}


def check_origin(saved: dict[str, Any] | None, now: dict[str, Any], begun: int, path: Any) -> None:
    """Refuse to go on as another run.

    Stages that have not begun may change, for all numbers up to them are then those of the new schedule as well: a
    finished run can be given more iterations.

    Args:
        saved: what the checkpoint holds of its run.
        now: the same of the run that is to go on.
        begun: how many stages had begun.
        path: of the checkpoint.

    Raises:
        InputError: with all that differs.
    """
    cure = f"begin a new run from its weights, with --model.init_from={path} in place of --ckpt_path"
    if saved is None:
        raise InputError(f"--ckpt_path: found no settings of its run in {path}, which an older version wrote; {cure}")
    there, here = saved["settings"], now["settings"]
    differences = [
        f"{key} ({_shown(there, key)} there, {_shown(here, key)} here)"
        for key in dict.fromkeys([*there, *here])
        if there.get(key) != here.get(key)
    ]
    for index in range(begun):
        a, b = (dict(enumerate(stages)).get(index, {}) for stages in (saved["stages"], now["stages"]))
        differences += [
            f"{key} of stage {index + 1} of the schedule ({_shown(a, key)} there, {_shown(b, key)} here)"
            for key in dict.fromkeys([*a, *b])
            if a.get(key) != b.get(key)
        ]
    if differences:
        raise InputError(
            f"--ckpt_path: {path} is of a run that differs from this one in {', '.join(differences)}; restore what "
            f"has changed (config.yaml in the run's folder holds its settings), or {cure}"
        )


def _parameters(kind: type) -> list[str]:
    parameters = inspect.signature(kind.__init__).parameters.values()  # type: ignore[misc]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in parameters if p.kind in named and p.name != "self"]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _shown(settings: Mapping[str, Any], key: str) -> str:
    return str(settings[key]) if key in settings else "nothing"
