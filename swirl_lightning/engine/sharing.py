"""Whether a model can share prompts; where it cannot, why."""

from __future__ import annotations

import logging
from typing import Any, Literal

import torch

from swirl_lightning.engine.continuation import Continuation, SharedPrompts
from swirl_lightning.engine.plain import PlainTexts
from swirl_lightning.engine.sampling import GREEDY
from swirl_lightning.types import Answer, InputError

EngineName = Literal["auto", "plain"]
log = logging.getLogger(__name__)

FLOAT32, TF32 = 1e-3, 0.05
"""Nats that rounding explains; products of a model of half precision are rounded to TF32 on a GPU."""
PROBE_PROMPT = (3, 7, 5, 2)
PROBE_ROWS = ((4, 6, 1), (4, 8), (5, 3, 6))


def choose_engine(model: Any, longest: int, requested: EngineName = "auto") -> type[Continuation]:
    """The shared form wherever it is right for the model, else the plain one; the log says why.

    Args:
        model: a Hugging Face causal LM, which computes in float32 meanwhile: what half precision rounds off hides
            what a form leaves out.
        longest: tokens of the longest text that will pass through it.
        requested: ``plain`` for checking.

    Raises:
        InputError: the model runs in no form.
    """
    check_runs(model)
    if requested == "plain":
        return PlainTexts
    reason = why_plain(model, longest)
    if reason is None:
        return SharedPrompts
    log.warning("prompts are not shared, every text passes through the model by itself: %s", reason)
    return PlainTexts


@torch.no_grad()
def check_runs(model: Any) -> None:
    """Let a model write and score a few tokens.

    Raises:
        InputError: it cannot.
    """
    try:
        opened = PlainTexts(model, [PROBE_PROMPT], Answer())
        written = opened.sample([0], torch.zeros(1, 2), GREEDY).logp
        scored = opened.score([0], [(4, 6)], [2], temperature=1.0, support=None, plain=False).logp
        if not bool(written.isfinite().all() & scored.isfinite().all()):
            raise FloatingPointError("its log-probs are not finite")
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a model of another kind can fail anywhere
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise InputError(
            f"model.base.name: a model of the type {model.config.model_type!r} does not write or score text here "
            f"({reason}); expected a causal language model that reads token ids alone; some of lower precision run "
            "with model.base.dtype float32"
        ) from error


def why_plain(model: Any, longest: int) -> str | None:
    """Why each text must pass through the model by itself; None where prompts can be shared.

    What depends on the length of a text is read from the configuration; all else is tried on a few tokens.
    """
    config = model.config.get_text_config(decoder=True)
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    slides = any("sliding" in kind for kind in kinds) if kinds else getattr(config, "use_sliding_window", True)
    if window and slides and window < longest:
        return f"attention slides over {window} tokens, and texts have up to {longest}"
    chunk = getattr(config, "attention_chunk_size", None)
    if chunk and chunk < longest:
        return f"attention is cut into chunks of {chunk} tokens, and texts have up to {longest}"
    if getattr(config, "final_logit_softcapping", None):
        return "its logits are soft-capped"
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope in ("dynamic", "longrope"):
        return f"its {rope} position embedding depends on the length of the whole text"
    return _probe(model)


@torch.no_grad()
def _probe(model: Any) -> str | None:
    """Compare both forms on a few tokens."""
    case = ([0] * len(PROBE_ROWS), PROBE_ROWS, [len(row) for row in PROBE_ROWS])
    options: dict[str, Any] = {"temperature": 1.0, "support": None, "plain": False}
    plain = PlainTexts(model, [PROBE_PROMPT], Answer()).score(*case, **options).logp
    try:
        shared = SharedPrompts(model, [PROBE_PROMPT], Answer()).score(*case, **options).logp
    except Exception as error:  # a model of another kind can fail anywhere
        return f"it does not continue a cache of keys and values ({type(error).__name__}: {str(error)[:80]})"
    difference = float((shared - plain).abs().max())
    if not difference < (TF32 if model.device.type == "cuda" and model.dtype != torch.float32 else FLOAT32):
        return f"its log-probs would differ by {difference:.2g} nats (soft-capped logits, or layers with a state)"
    return None
