"""The Inverse Dynamics Model Q(z | x, y)."""

from __future__ import annotations

from typing import Any, Literal

import lightning as L

from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.types import Encoded, Ids


class InverseDynamicsModel(GRPOMixin, L.LightningModule):
    """Names the action z that leads from the state x to the next state y. It learns in the ELBO phase.

    Args:
        prior: what the KL term of the ELBO phase is taken to: the reference's ``posterior`` pi_ref(z | x, y), as the
            authors' release does, or its ``state`` prior pi_ref(z | x), with which Theorem 3.2 is a bound (at
            beta = 1); the warm-up then trains that prior too.
        kwargs: the options of every role.
    """

    role = "idm"

    def __init__(self, prior: Literal["posterior", "state"] = "posterior", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prior: Literal["posterior", "state"] = prior

    def prompt(self, code: Encoded, y: Ids) -> Ids:
        """What z completes."""
        return code.prompts.inverse(code.x, y)
