"""Both roles of a run as folders that the Hugging Face libraries load without this project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swirl_lightning import __version__
from swirl_lightning.modules import SWIRL
from swirl_lightning.report.run import read_run
from swirl_lightning.trained.card import state_card, write_card
from swirl_lightning.trained.facts import Facts, base_licence
from swirl_lightning.trained.files import whole
from swirl_lightning.trained.load import read_config
from swirl_lightning.types import InputError


def export(model: SWIRL, run: Path, out: Path, *, merge: bool = False, base_model: str | None = None) -> None:
    """Write ``out/fwm`` and ``out/idm``, each with tokenizer, codebook and model card, and ``out/swirl.json``.

    A role is an adapter in PEFT's layout; where the model was built from scratch, and with ``merge``, it is a whole
    model. Roles that share their weights get a folder each nonetheless.

    Args:
        model: of ``load_run``.
        run: its folder, whose configuration and results the cards tell.
        out: the folder to make.
        merge: add each adapter to its base and write whole models, in the base's precision.
        base_model: the base's name on the hub, where the run loaded it from a folder.

    Raises:
        InputError: the folder is there, a quantised base was to be merged, or other programs cannot make the ids.
    """
    has_base = model.weights.base_name is not None
    if base_model and not has_base:
        raise InputError("--base_model: found a run whose model was built from scratch, expected one with a base")
    results = read_run(run).results
    facts = Facts(
        config=read_config(run),
        metrics=next((stage["metrics"] for stage in reversed(results["stages"]) if stage.get("metrics")), {}),
        versions=results.get("versions") or {},
        adapter=model.weights.has_base and not merge,
        base=base_model or model.weights.base_name,
        licence=base_licence(model.weights.base_name, base_model) if has_base else None,
    )
    states = state_card(model)
    with whole(out) as part:
        for role in (model.fwm, model.idm):
            folder = part / role.role
            folder.mkdir(parents=True)
            model.codec.export(folder)
            model.weights.export(role.policy.name, folder, merge=merge, base_name=base_model)
            write_card(folder / "README.md", role, states, facts)
        text = json.dumps(_description(model, facts, merge) | states.description(), indent=2, ensure_ascii=False)
        (part / "swirl.json").write_text(text + "\n", encoding="utf-8")


def _description(model: SWIRL, facts: Facts, merged: bool) -> dict[str, Any]:
    """What another program needs to ask the exported models as this one does."""
    return {
        "swirl-lightning": __version__,
        "trained_with": facts.versions,
        "base_model": facts.base,
        "merged": merged,
        "shared_weights": model.shared_weights,
        "state_form": model.state_form,
        "idm_reads": model.idm.reads,
        "max_tokens": model.max_tokens,
        "max_new_tokens": {role.role: role.max_new_tokens for role in (model.fwm, model.idm)},
    }
