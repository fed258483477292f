"""The model card of an exported role, as the Hugging Face hub reads it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from swirl_lightning import __version__
from swirl_lightning.codecs import Codec
from swirl_lightning.codecs.picture import PictureCodec
from swirl_lightning.codecs.visual import VisualCodec
from swirl_lightning.modules import SWIRL
from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.trained.card_pictures import PictureCard
from swirl_lightning.trained.card_states import StateCard
from swirl_lightning.trained.card_text import TextCard
from swirl_lightning.trained.card_visual import VisualCard
from swirl_lightning.trained.facts import Facts

PAPER = "2602.06130"
TITLES = {"fwm": "Forward World Model", "idm": "Inverse Dynamics Model"}
DOES = {
    "fwm": "It reads a state and an action and writes the {y}.",
    "idm": "It reads a state and the {y} and writes the action that leads there.",
}
CARDS: dict[type, type[StateCard]] = {Codec: TextCard, PictureCodec: PictureCard, VisualCodec: VisualCard}
LIMITS = """\
- It knows worlds like those it was trained on. The metrics above are of held-out episodes of the same data, with greedy
  decoding; nothing is known of others.
- State, action and next state together had at most {max_tokens} tokens, an answer at most {max_new_tokens}. An answer
  that has no end within them, or does not fit the state, is no answer.
- Where its training data had no actions, both models taught each other what leads from state to state. An action may
  be named by another word than people use, and a log-probability is no calibrated certainty.
- Errors of predicted states add up when they are fed back in."""


def state_card(model: SWIRL) -> StateCard:
    """What is said of the model's states; of a codec that is known by a class that it extends, what is said of that."""
    return next(CARDS[kind] for kind in type(model.codec).__mro__ if kind in CARDS)(model)


def write_card(path: Path, role: GRPOMixin, states: StateCard, facts: Facts) -> None:
    """Write the card of a role."""
    name, model = role.role, states.model
    base = "a model built from scratch" if facts.base is None else f"`{_short(facts.base)}`"
    kind = "LoRA adapter on" if facts.adapter else "Whole model, trained from" if facts.base else "Whole model:"
    licence = "none is given yet: choose one before you publish" if facts.base is None else (
        f"the base's is `{facts.licence}`" if facts.licence else "unknown: see the base model"
    )  # fmt: skip
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(name, facts), sort_keys=False, allow_unicode=True)}---",
        f"# {TITLES[name]}\n\n{kind} {base}, trained with SWIRL ([arXiv:{PAPER}](https://arxiv.org/abs/{PAPER})) by "
        f"swirl-lightning {facts.versions.get('swirl-lightning', __version__)}. "
        + DOES[name].format(y="change" if model.codec.form_of(name) == "delta" else "next state"),
        states.form(role),
        f"Licence: {licence}.",
        f"## Use\n\n```python\n{states.snippet(role, facts)}\n```",
        "Parts are tokenised apart and their ids joined, as in training. " + states.layouts(),
        f"## Training data and schedule\n\n{_training(facts.config)}",
        f"## Held-out metrics\n\n{_table(name, facts.metrics)}",
        "## Limits\n\n" + LIMITS.format(max_tokens=model.max_tokens, max_new_tokens=role.max_new_tokens),
    ]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _front_matter(name: str, facts: Facts) -> dict[str, Any]:
    on_hub = facts.base is not None and not Path(facts.base).exists()
    relation = "adapter" if facts.adapter else "finetune"
    data = facts.config.get("data", {}).get("class_path", "").split(".")[-1] or "unknown"
    metrics = [
        {"type": metric.rpartition("/")[2], "name": metric, "value": value}
        for metric, value in _of_role(name, facts.metrics).items()
    ]
    result = {"task": {"type": "text-generation"}, "dataset": {"name": data, "type": data}, "metrics": metrics}
    return {
        **({"base_model": facts.base, "base_model_relation": relation} if on_hub else {}),
        **({"license": facts.licence or "unknown"} if facts.base else {}),
        "library_name": "peft" if facts.adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["swirl", "world-model", TITLES[name].lower().replace(" ", "-"), "grpo", f"arxiv:{PAPER}"],
        **({"model-index": [{"name": f"swirl-{name}", "results": [result]}]} if metrics else {}),
    }


def _training(config: dict[str, Any]) -> str:
    data, trainer = config.get("data") or {}, config.get("trainer") or {}
    options = data.get("init_args") or {}
    told = {k: _short(v) if isinstance(v, str) else v for k, v in options.items() if v is not None}
    stages = " > ".join(stage["phase"] for stage in trainer.get("warmup") or [])
    repeated = " > ".join(stage["phase"] for stage in trainer.get("iteration") or [])
    lines = [f"- data: `{data.get('class_path', 'unknown')}`"]
    lines += [f"  - {key}: {value}" for key, value in told.items()]
    times = trainer.get("iterations") or 0
    lines += [f"- schedule: {stages}" + (f", then {times} times {repeated}" if times and repeated else "")]
    return "\n".join([*lines, f"- seed: {config.get('seed_everything')}"])


def _table(name: str, metrics: dict[str, float]) -> str:
    rows = [f"| {metric} | {value:.4f} |" for metric, value in _of_role(name, metrics).items()]
    return "\n".join(["| metric | test split |", "| --- | --- |", *rows]) if rows else "None are recorded."


def _of_role(name: str, metrics: dict[str, float]) -> dict[str, float]:
    """Those of one role, also where an environment's name comes first; numbers alone, as JSON and YAML have them."""
    return {key: v for key, v in metrics.items() if name in key.split("/")[:-1] and v is not None and math.isfinite(v)}


def _short(name: str) -> str:
    """A path's last part: where it lies on one machine says nothing to others."""
    return Path(name).name if Path(name).is_absolute() or Path(name).exists() else name
