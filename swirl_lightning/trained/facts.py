"""What the model card of an exported role tells of its run, and how the model is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swirl_lightning.models.base import gguf_file

GGUF = """\
options = {{"gguf_file": {file!r}}}
if hasattr(transformers, "GgufConfig"):  # of newer releases, which may leave the weights packed
    options["quantization_config"] = transformers.GgufConfig(dequantize=True)
"""
ADAPTER = """\
name = PeftConfig.from_pretrained(folder).base_model_name_or_path
{options}base = {auto_class}.from_pretrained(name{given})
model = PeftModel.from_pretrained(base, folder)"""


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

    def loading(self, auto_class: str = "AutoModelForCausalLM", given: str = "") -> tuple[str, str]:
        """Imports, and lines of Python that load the model.

        Args:
            auto_class: of transformers.
            given: more arguments of its ``from_pretrained``, a comma before each.
        """
        if not self.adapter:
            return "", f"model = {auto_class}.from_pretrained(folder{given})"
        peft, options = "from peft import PeftConfig, PeftModel\n", ""
        if self.base and (file := gguf_file(self.base)):
            peft, options, given = f"import transformers\n{peft}", GGUF.format(file=file), f"{given}, **options"
        return peft, ADAPTER.format(auto_class=auto_class, options=options, given=given)


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
