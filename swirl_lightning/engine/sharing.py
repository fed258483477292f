"""Whether a model can share prompts; where it cannot, why."""

from __future__ import annotations

import logging
from typing import Any, Literal

import torch

from swirl_lightning.engine.continuation import Continuation, SharedPrompts
from swirl_lightning.engine.plain import PlainTexts

EngineName = Literal["auto", "plain"]
log = logging.getLogger(__name__)

PROBE_PROMPT = (3, 7, 5, 2)
PROBE_ROWS = ((4, 6, 1), (4, 8), (5, 3, 6))


def choose_engine(model: Any, longest: int, requested: EngineName = "auto") -> type[Continuation]:
    """The shared form wherever it is right for the model; the log says where it is not.

    Args:
        model: a Hugging Face causal LM.
        longest: tokens of the longest text that will pass through it.
        requested: ``plain`` for checking.
    """
    if requested == "plain":
        return PlainTexts
    reason = why_plain(model, longest)
    if reason is None:
        return SharedPrompts
    log.warning("prompts are not shared, every text passes through the model by itself: %s", reason)
    return PlainTexts


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
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope in ("dynamic", "longrope"):
        return f"its {rope} position embedding depends on the length of the whole text"
    return _probe(model)


@torch.no_grad()
def _probe(model: Any) -> str | None:
    """Compare both forms on a few tokens."""
    case = ([0] * len(PROBE_ROWS), PROBE_ROWS, [len(row) for row in PROBE_ROWS])
    options: dict[str, Any] = {"temperature": 1.0, "support": None, "plain": False}
    plain = PlainTexts(model, [PROBE_PROMPT]).score(*case, **options).logp
    try:
        shared = SharedPrompts(model, [PROBE_PROMPT]).score(*case, **options).logp
    except Exception as error:  # a model of another kind can fail anywhere
        return f"it does not continue a cache of keys and values ({type(error).__name__}: {str(error)[:80]})"
    difference, tolerance = float((shared - plain).abs().max()), 1e-3 if model.dtype == torch.float32 else 0.3
    if not difference < tolerance:
        return f"its log-probs would differ by {difference:.2g} nats (soft-capped logits, or layers with a state)"
    return None
