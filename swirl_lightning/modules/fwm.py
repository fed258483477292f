"""The Forward World Model P(y | x, z)."""

from __future__ import annotations

from collections.abc import Sequence

import lightning as L

from swirl_lightning.codecs import Codec
from swirl_lightning.modules.grpo_mixin import GRPOMixin, actions_of
from swirl_lightning.modules.learning import Lesson
from swirl_lightning.types import Encoded, Ids, Transition


class ForwardWorldModel(GRPOMixin, L.LightningModule):
    """Writes the next state (or the change) y from the state x and the action z. It learns in the VIM phase."""

    role = "fwm"
    writes = "y"

    def prompt(self, code: Encoded, given: Ids) -> Ids:
        """What y completes, given an action z."""
        return code.prompts.forward(code.x, given)

    def head(self, code: Encoded) -> Ids:
        """What stands before z."""
        return code.prompts.forward_head(code.x)

    def read(self, codec: Codec, transition: Transition, completion: Ids) -> str | None:
        """The next state that a completion says; None where it says none, such as an edit that does not apply."""
        return codec.next_state(transition.state, completion)

    def lessons(self, codes: Sequence[Encoded], weight: float = 1.0) -> list[Lesson]:
        """Y after (x, z)."""
        prompts = [self.prompt(code, z) for code, z in zip(codes, actions_of(codes), strict=True)]
        return [Lesson(prompts, [code.y for code in codes], weight)]
