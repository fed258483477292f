"""What the frozen role is asked about the completions of the other one."""

from __future__ import annotations

from collections.abc import Sequence

from swirl_lightning.codecs import Codec
from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.modules.grpo_mixin import GRPOMixin
from swirl_lightning.rewards import ScoringTask
from swirl_lightning.types import Encoded, Ids, Transition


def scoring_task(
    rollouts: Rollouts,
    transitions: Sequence[Transition],
    codes: Sequence[Encoded],
    targets: Sequence[Ids],
    *,
    learner: GRPOMixin,
    scorer: GRPOMixin,
    codec: Codec,
) -> ScoringTask:
    """How probable the scorer finds each target after each completion, asked with its own training prompt.

    In the VIM phase: how probable is z after (x, y_hat)? In the ELBO phase: how probable is y after (x, z_hat)?

    Args:
        rollouts: N completions of the learner, in P groups.
        transitions: what each group started from. P
        codes: their ids. P
        targets: what the scorer is asked for, without the end token. P
        learner: the role that wrote the completions.
        scorer: the role that is asked.
        codec: reads the completions.
    """
    groups = rollouts.prompt_of.tolist()
    heads = [scorer.head(code) for code in codes]
    given = rollouts.completions
    if learner.writes == "y":
        given = tuple(codec.given(transitions[p], ids) for p, ids in zip(groups, given, strict=True))
    prompts = [scorer.prompt(codes[p], ids) for p, ids in zip(groups, given, strict=True)]
    rows = list(map(scorer.policy.answer.row, targets))
    return ScoringTask(
        prompts=tuple(heads),
        rows=tuple(prompts[n][len(heads[p]) :] + rows[p] for n, p in enumerate(groups)),
        scored=tuple(len(rows[p]) for p in groups),
        transitions=tuple(codec.compared(transitions)),
        texts=tuple(
            learner.read(codec, transitions[p], ids) for p, ids in zip(groups, rollouts.completions, strict=True)
        ),
        writes=learner.writes,
    )
