"""How long the texts of a run are, so that arms can be given equal gradient tokens before they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from swirl_lightning.codecs import Layout, TextCodec, indent
from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.environments.splits import Split
from swirl_lightning.types import Encoded, Transition


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of a whole text, prompt and completion, which is the same for both roles.

    Args:
        labelled: of the labelled transitions.
        state_only: of the state-only ones, with an action of mean length.
        labels: number of labelled transitions.
    """

    labelled: float
    state_only: float
    labels: int


def data_module(config: Path, **options: Any) -> TransitionDataModule:
    """The data module of a configuration, with other options."""
    return _make(yaml.safe_load(config.read_text())["data"], **options)


def measure(config: Path, data: TransitionDataModule, model: str | None) -> Lengths:
    """Encode all training texts as a run of the configuration would."""
    settings = yaml.safe_load(config.read_text())["model"]
    base = _make(settings["base"], **({} if model is None else {"name": model}))
    data.setup()
    layouts = {"": Layout()} | {name: part.layout for name, part in data.parts().items()}
    markers = dict.fromkeys(marker for layout in layouts.values() for marker in layout.markers)
    tokenizer = base.tokenizer(map(indent, data.corpus()), tuple(markers))
    codec = TextCodec(tokenizer, layouts, settings["state_form"], settings["max_tokens"])
    labelled, unlabelled = encoded(codec, data.labelled), encoded(codec, data.state_only)
    action = fmean(len(code.z or ()) for code in labelled)
    return Lengths(
        labelled=fmean(map(_tokens, labelled)),
        state_only=fmean(map(_tokens, unlabelled)) + action,
        labels=len(labelled),
    )


def episodes(data: TransitionDataModule, split: Split) -> int:
    """Number of episodes in a split."""
    return len({t.episode for t in data.load(split)})


def encoded(codec: TextCodec, transitions: Sequence[Transition]) -> list[Encoded]:
    codec.encode_all(transitions)
    return [codec.encode(t) for t in transitions]


def _tokens(code: Encoded) -> int:
    """Of the text that passes through the model; its end token is only predicted."""
    return len(code.prompts.forward(code.x, code.z or ())) + len(code.y)


def _make(settings: dict[str, Any], **options: Any) -> Any:
    module, _, name = settings["class_path"].rpartition(".")
    return getattr(import_module(module), name)(**(settings.get("init_args", {}) | options))
