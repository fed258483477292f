"""Whether a picture is left alone by an instruction that is true of it already (DiscEdit). Shape letter: S samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from swirl_lightning.metrics.choice import Claim
from swirl_lightning.modules.world_model import WorldModel


@torch.no_grad()
def disc_edit(
    model: WorldModel, claims: Sequence[Claim], samples: int, seed: int, distance: Callable[[str, str], float]
) -> list[float]:
    """The share of samples in which the true instruction changes the picture less than the false one, of each claim.

    AURORA's discriminative metric (arXiv:2407.03471): the n-th sample of both instructions is drawn from the same
    random numbers. A sample that is no valid picture counts as not told apart.

    Args:
        model: a SWIRL that is set up; the FWM draws as in training.
        claims: N of them.
        samples: S for each instruction.
        seed: of the draws.
        distance: of a state and what was made of it.
    """
    fwm, codec = model.fwm, model.codec
    prompts = [
        codec.question(claim.state, said, claim.subset) for claim in claims for said in (claim.true, claim.false)
    ]
    seeds = [seed] * len(prompts)
    drawn = fwm.policy.generate(
        prompts, seeds, group_size=samples, max_tokens=fwm.max_new_tokens, sampling=fwm.sampling
    )
    finished = drawn.finished.tolist()
    edits = [
        [codec.next_state(claims[p // 2].state, drawn.completions[n]) if finished[n] else None for n in rows]
        for p, rows in enumerate(drawn.row_of.tolist())
    ]
    shares = []
    for claim, true, false in zip(claims, edits[::2], edits[1::2], strict=True):
        told = [
            a is not None and b is not None and distance(a, claim.state) < distance(b, claim.state)
            for a, b in zip(true, false, strict=True)
        ]
        shares.append(sum(told) / samples)
    return shares
