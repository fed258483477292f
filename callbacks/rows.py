"""Transitions with what was said of them, as rows of a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from swirl_lightning.types import Prediction, Transition


def row_of(transition: Transition, prediction: Prediction) -> dict[str, Any]:
    """The row of samples.jsonl and predictions.jsonl."""
    return {
        "episode": transition.episode,
        "step": transition.step,
        "state": transition.state,
        "action": transition.action,
        "next_state": transition.next_state,
        "predicted_action": prediction.action,
        "predicted_next_state": prediction.next_state,
    }


def lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as JSON, one a line."""
    return "".join(json.dumps(row) + "\n" for row in rows)
