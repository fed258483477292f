"""Learning-rate schedules as functions of the position in a stage, so that a resumed run needs no state."""

from __future__ import annotations

import math
from typing import Literal

ScheduleShape = Literal["constant", "cosine"]


def learning_rate_factor(update: int, updates: int, warmup: int, shape: ScheduleShape) -> float:
    """What the peak learning rate is multiplied by at ``update`` of ``updates``, both within the stage.

    Linear from 1 / warmup to 1 over the first ``warmup`` updates, then constant, or the half cosine that would reach 0
    after the last update.
    """
    if update < warmup:
        return (update + 1) / warmup
    if shape == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (update - warmup) / max(updates - warmup, 1)))
