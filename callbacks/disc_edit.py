"""AURORA's discriminative metric: does the FWM leave alone what an instruction is true of already?"""

from __future__ import annotations

from typing import Any

import torch

from swirl_lightning.callbacks.likeness import likeness
from swirl_lightning.callbacks.tested import TestedOnce
from swirl_lightning.environments.splits import take_turns
from swirl_lightning.metrics.base import MeanScore
from swirl_lightning.metrics.choice import Claim
from swirl_lightning.modules import SWIRL
from swirl_lightning.modules.disc_edit import disc_edit
from swirl_lightning.types import InputError, check_number

TOGETHER = 8
"""Claims whose samples are drawn at once."""


class ClaimShare(MeanScore):
    """Mean over claims of the share of samples that are told apart, in [0, 1]."""

    def update(self, shares: list[float]) -> None:
        """Adds the shares of N claims."""
        self.add(shares)


class DiscEdit(TestedOnce):
    """DiscEdit (arXiv:2407.03471), with ``swirl test``, on the claims of ``disc_edit_data`` beside AURORA-Bench.

    Each picture is edited by an instruction that is true of it already, and by one that is not, ``samples`` times each
    from the same random numbers. ``fwm/disc_edit`` is the share of samples in which the true one changes the picture
    less. A model that ignores its instructions has 0: none of its changes is less than the other. The release measures
    the change in the latent space of its diffusion model; here it is measured in pixels, as the model sees the
    picture, or by CLIP.

    Args:
        samples: edits by each instruction.
        claims: so many at most, spread over the tasks, always the same ones.
        clip: a CLIP model, by its folder or its name on the hub, for the change; null takes pixels.
    """

    def __init__(self, samples: int = 4, claims: int = 250, clip: str | None = None) -> None:
        check_number("DiscEdit.samples", samples, least=1)
        check_number("DiscEdit.claims", claims, least=1)
        self.samples = samples
        self.claims = claims
        self.clip = clip
        self.metrics = {"fwm/disc_edit": ClaimShare()}

    def items(self, data: Any) -> list[Claim]:
        """The claims of the data module."""
        read = getattr(data, "claims", None)
        if read is None:
            raise InputError(
                f"DiscEdit: found no claims in {type(data).__name__}, expected AuroraDataModule; leave out the callback"
            )
        return take_turns(read(), lambda claim: claim.subset, "disc edit")[: self.claims]

    def count(self, module: SWIRL, items: list[Claim]) -> None:
        """Edit and compare."""
        alike = likeness(self.clip, torch.device(module.device))
        for start in range(0, len(items), TOGETHER):
            shares = disc_edit(
                module, items[start : start + TOGETHER], self.samples, module.seed, lambda a, b: -alike(a, b)
            )
            self.metrics["fwm/disc_edit"].update(shares)
