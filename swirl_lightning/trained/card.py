"""The model card of an exported role, as the Hugging Face hub reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from swirl_lightning import __version__
from swirl_lightning.codecs.picture import PictureCodec
from swirl_lightning.models.base import gguf_file
from swirl_lightning.modules import SWIRL
from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.trained import card_pictures
from swirl_lightning.types import Role

PAPER = "2602.06130"
TITLES = {"fwm": "Forward World Model", "idm": "Inverse Dynamics Model"}
DOES = {
    "fwm": "It reads a state and an action and writes the {y}.",
    "idm": "It reads a state and the {y} and writes the action that leads there.",
}
FORMS = {
    "delta": """The change is an edit of the state, a line for each step; where nothing changes it is empty. A state of
sorted, distinct lines is a set of facts, whose order means nothing:

| line | what it does |
| --- | --- |
| `- text` | this line goes |
| `+ text` | this line comes |

Any other text is walked down from its top:

| line | what it does |
| --- | --- |
| `= text` | go down behind the next line that reads so; it and all lines on the way stay |
| `- text` | go down to the next line that reads so; it goes |
| `~ text` | the lines from here down to the next line that reads so go, it too |
| `+ text` | this line comes here |
| `@ end` | go down to the end |
| `@ 3` | go down to line 3, counted from 0 |

An edit that begins with `=` or `@` is read the second way, whatever the state. Python:
`swirl_lightning.codecs.decode_delta(state, change)`.""",
    "full": "Each line of a state begins with a space.",
}
EXAMPLES = {
    "delta": ("- the lamp is off\n+ the lamp is on", 'change = "- the lamp is off\\n+ the lamp is on"'),
    "full": ("the door is shut\nthe lamp is on", 'change = indent("the door is shut\\nthe lamp is on")'),
}
GGUF = """\
options = {{"gguf_file": {file!r}}}
if hasattr(transformers, "GgufConfig"):  # of newer releases, which may leave the weights packed
    options["quantization_config"] = transformers.GgufConfig(dequantize=True)
"""
ADAPTER = """\
name = PeftConfig.from_pretrained(folder).base_model_name_or_path
{options}base = AutoModelForCausalLM.from_pretrained(name{given})
model = PeftModel.from_pretrained(base, folder)"""
LIMITS = """\
- It knows worlds like those it was trained on. The metrics above are of held-out episodes of the same data, with greedy
  decoding; nothing is known of others.
- State, action and next state together had at most {max_tokens} tokens, an answer at most {max_new_tokens}. An answer
  that has no end within them, or does not fit the state, is no answer.
- Where its training data had no actions, both models taught each other what leads from state to state. An action may
  be named by another word than people use, and a log-probability is no calibrated certainty.
- Errors of predicted states add up when they are fed back in."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a card tells of the run.

    Args:
        config: the run's configuration.
        metrics: of the test split after the last stage.
        versions: of what it was trained with.
        adapter: whether the folder holds an adapter, not a whole model.
        base: the base model's name; None for a model built from scratch.
        licence: of the base; None where it is not known.
    """

    config: dict[str, Any]
    metrics: dict[str, float]
    versions: dict[str, str]
    adapter: bool
    base: str | None
    licence: str | None


def base_licence(*names: str | None) -> str | None:
    """The licence that the card of a base model states, in its folder or on the hub; None where none can be read."""
    from huggingface_hub import ModelCard

    for name in filter(None, names):
        place = Path(name) / "README.md" if Path(name).is_dir() else name
        try:
            licence = ModelCard.load(place).data.get("license")
        except Exception:  # no network, no card, no front matter: each in several ways
            continue
        if isinstance(licence, str):
            return licence
    return None


def write_card(path: Path, role: GRPOMixin, model: SWIRL, facts: Facts) -> None:
    """Write the card of a role."""
    name = role.role
    form = model.state_form if name == "fwm" else model.codec.read_form
    base = "a model built from scratch" if facts.base is None else f"`{_short(facts.base)}`"
    kind = "LoRA adapter on" if facts.adapter else "Whole model, trained from" if facts.base else "Whole model:"
    licence = "none is given yet: choose one before you publish" if facts.base is None else (
        f"the base's is `{facts.licence}`" if facts.licence else "unknown: see the base model"
    )  # fmt: skip
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(name, facts), sort_keys=False, allow_unicode=True)}---",
        f"# {TITLES[name]}\n\n{kind} {base}, trained with SWIRL ([arXiv:{PAPER}](https://arxiv.org/abs/{PAPER})) by "
        f"swirl-lightning {facts.versions.get('swirl-lightning', __version__)}. "
        + DOES[name].format(y="change" if form == "delta" else "next state"),
        card_pictures.form(codec, name, form) if (codec := _pictures(model)) else FORMS[form],
        f"Licence: {licence}.",
        f"## Use\n\n```python\n{_snippet(name, model, role, facts)}\n```",
        "Parts are tokenised apart and their ids joined, as in training. " + _layouts(model),
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


def _pictures(model: SWIRL) -> PictureCodec | None:
    """The codec of a model whose states are pictures."""
    return model.codec if isinstance(model.codec, PictureCodec) else None


def _loading(facts: Facts) -> tuple[str, str]:
    """Imports and lines of Python that load the model."""
    if not facts.adapter:
        return "", "model = AutoModelForCausalLM.from_pretrained(folder)"
    peft, load = "from peft import PeftConfig, PeftModel\n", ADAPTER.format(options="", given="")
    if facts.base and (file := gguf_file(facts.base)):
        return f"import transformers\n{peft}", ADAPTER.format(options=GGUF.format(file=file), given=", **options")
    return peft, load


def _snippet(name: Role, model: SWIRL, role: GRPOMixin, facts: Facts) -> str:
    environment = next(filter(None, model.layouts), "")
    start, action, next_state = (repr(marker) for marker in model.layouts[environment].markers)
    tokenizer, bos = model.codec.tokenizer, model.codec.tokenizer.bos_token_id
    begins = bos is not None and model.codec.prompts(environment).fwm[0][:1] == (bos,)
    first = f"[{bos}] + words({start})" if begins else f"words({start})"
    peft, load = _loading(facts)
    if codec := _pictures(model):
        return card_pictures.snippet(codec, name, (start, action, next_state), first, peft, load, role.max_new_tokens)
    known, prompt = {
        "fwm": ('action = "switch the lamp on"', f"words({action}) + ids(indent(action)) + words({next_state})"),
        "idm": (EXAMPLES[model.codec.read_form][1], f"words({next_state}) + ids(change) + words({action})"),
    }[name]
    return f'''\
import torch
{peft}from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

folder = "{name}"  # this folder
tokenizer = AutoTokenizer.from_pretrained(folder)
{load}
model.generation_config = GenerationConfig()  # penalties and lengths of the base's own were not there in training


def words(text):
    return tokenizer(text, add_special_tokens=False).input_ids


def ids(text):
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids


def indent(text):
    return "\\n".join(" " + line for line in text.split("\\n"))


state = "the door is shut\\nthe lamp is off"
{known}
prompt = {first} + ids(indent(state)) + {prompt}
written = model.generate(
    input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
    do_sample=False, max_new_tokens={role.max_new_tokens},
    eos_token_id={tokenizer.eos_token_id}, pad_token_id={tokenizer.eos_token_id},
)  # greedy
print(tokenizer.decode(written[0, len(prompt):], skip_special_tokens=True))'''


def _layouts(model: SWIRL) -> str:
    names = [name for name in model.layouts if name]
    if len(names) < 2:
        return "`swirl.json` in the folder above says the same to programs."
    rows = [f"| {name} | " + " | ".join(f"`{m!r}`" for m in model.layouts[name].markers) + " |" for name in names]
    return f"The words above are those of {names[0]}:\n\n" + "\n".join(
        ["| environment | start | action | next state |", "| --- | --- | --- | --- |", *rows]
    )


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
