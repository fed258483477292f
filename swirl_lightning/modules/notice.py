"""What a run says of its data before it trains: how much there is, and what it can make nothing of."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np

from swirl_lightning.codecs.encodings import Sizes
from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.environments.log import LogDataModule
from swirl_lightning.environments.table import values
from swirl_lightning.modules.grpo_mixin import GRPOMixin

log = logging.getLogger(__name__)


def tell(
    data: TransitionDataModule, sizes: Sequence[Sizes], roles: Sequence[GRPOMixin], max_tokens: int, *, scratch: bool
) -> None:
    """Say what the data is, and warn of targets that a role can never write.

    Args:
        data: without the rows that are too long.
        sizes: of its labelled, state-only, validation and test transitions.
        roles: both.
        max_tokens: longest transition.
        scratch: the model is built from scratch.
    """
    counts = [len(its.whole) for its in sizes]
    changes = [change for part in (data.labelled, data.state_only) for change in values(part, "changes")]
    log.info(
        "data: %d labelled, %d state-only, %d validation and %d test rows, of at most %d tokens (model.max_tokens %d). "
        "In %.0f%% of the rows that train nothing changes.",
        *counts, max(int(its.whole.max(initial=0)) for its in sizes), max_tokens,
        100 * (1 - np.mean(changes)) if changes else 0,
    )  # fmt: skip
    if scratch and any(type(part) is LogDataModule for part in data.parts().values()):
        log.info(
            "The model is built from scratch and knows these rows alone; of texts as real logs have them it learns "
            "little. A pretrained one: the same --data options with configs/textworld.yaml (docs/few_labels.md)."
        )
    labelled, state_only, *_ = sizes
    for line in _unwritable(labelled, state_only, roles):
        log.warning(line)


def _unwritable(labelled: Sizes, state_only: Sizes, roles: Sequence[GRPOMixin]) -> Iterator[str]:
    """A line for each role whose longest completion is shorter than targets of the rows that train."""
    targets = {
        "y": ("next states", np.concatenate([labelled.y, state_only.y])),
        "z": ("actions", labelled.z),
    }
    for role in roles:
        name, tokens = targets[role.writes]
        needed = tokens + (role.policy.answer.end is not None)
        if short := int((needed > role.max_new_tokens).sum()):
            yield (
                f"model.{role.role}.max_new_tokens is {role.max_new_tokens}: {short} of {len(needed)} {name} of the "
                f"rows that train are longer and can never be written; all can with "
                f"--model.{role.role}.init_args.max_new_tokens={needed.max()}"
            )
