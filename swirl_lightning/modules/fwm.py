"""The Forward World Model P(y | x, z)."""

from __future__ import annotations

import lightning as L

from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.types import Encoded, Ids


class ForwardWorldModel(GRPOMixin, L.LightningModule):
    """Writes the next state (or the change) y from the state x and the action z. It learns in the VIM phase."""

    role = "fwm"

    def prompt(self, code: Encoded, z: Ids) -> Ids:
        """What y completes."""
        return code.prompts.forward(code.x, z)
