"""The Inverse Dynamics Model Q(z | x, y)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import lightning as L

from swirl_lightning.codecs import Codec
from swirl_lightning.modules.grpo_mixin import GRPOMixin, actions_of
from swirl_lightning.modules.learning import Lesson
from swirl_lightning.types import Encoded, Ids, InputError, Reads, Transition


class InverseDynamicsModel(GRPOMixin, L.LightningModule):
    """Names the action z that leads from the state x to the next state y. It learns in the ELBO phase.

    Args:
        prior: what the KL term of the ELBO phase is taken to: the reference's ``posterior`` pi_ref(z | x, y), as the
            authors' release does, or its ``state`` prior pi_ref(z | x), with which Theorem 3.2 is a bound (at
            beta = 1); the warm-up then trains that prior too.
        reads: how it reads a next state: as the FWM has ``written`` it, or always as the canonical edit of the state
            (``delta``) or as the whole next state (``full``), so that all spellings of one state score alike.
        kwargs: the options of every role.
    """

    role = "idm"
    writes = "z"

    def __init__(
        self, prior: Literal["posterior", "state"] = "posterior", reads: Reads = "written", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if reads not in get_args(Reads):
            raise InputError(f"model.idm.reads: found {reads!r}, expected one of {', '.join(get_args(Reads))}")
        self.prior: Literal["posterior", "state"] = prior
        self.reads: Reads = reads

    def prompt(self, code: Encoded, given: Ids) -> Ids:
        """What z completes, given a next state y."""
        return code.prompts.inverse(code.x, given)

    def head(self, code: Encoded) -> Ids:
        """What stands before y."""
        return code.prompts.inverse_head(code.x)

    def read(self, codec: Codec, transition: Transition, completion: Ids) -> str | None:
        """The action that a completion says, which is never malformed."""
        return codec.action(completion)

    def lessons(self, codes: Sequence[Encoded], weight: float = 1.0) -> list[Lesson]:
        """Z after (x, y); with the state prior, half of the weight is on z after x alone."""
        zs = actions_of(codes)
        prompts = [self.prompt(code, code.given) for code in codes]
        if self.prior == "posterior":
            return [Lesson(prompts, zs, weight)]
        return [Lesson(prompts, zs, weight / 2), Lesson([code.prompts.prior(code.x) for code in codes], zs, weight / 2)]
