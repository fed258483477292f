"""A reward that asks for the next state that was observed."""

from __future__ import annotations

from collections import Counter
from typing import Literal, get_args

import torch

from swirl_lightning.codecs.delta import changed_lines
from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.metrics.bertscore import BertScore
from swirl_lightning.metrics.overlap import bag_f1
from swirl_lightning.metrics.rouge import rouge_l
from swirl_lightning.models import Policy
from swirl_lightning.rewards.base import Rewards, ScoringTask
from swirl_lightning.types import InputError, Prediction, check_number_or_null

Measure = Literal["exact", "changed_lines", "changed_tokens", "rouge_l", "bertscore"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


class NextStateReward:
    """How close the FWM's next state comes to the observed one, in [0, 1]; for the VIM phase.

    There z is drawn from Q(z | x, y), so that the observed y is what z led to. log Q(z | x, y_k) asks for a next state
    from which the action can be told, and a part of one is enough for that; this asks for all of it. Used alone it is
    the reward of RLVR-World (arXiv:2505.13934), with a threshold that of RWML (arXiv:2602.05842), both without their
    labelled actions. It reads no action. A completion without an end, or that is no state, gets 0.

    Args:
        measure: ``exact``; F1 between what changes in the prediction and what truly changes, by whole lines
            (``changed_lines``) or by their words (``changed_tokens``); ``rouge_l`` of the whole next state; or its
            ``bertscore``.
        encoder: a folder or a name of a model for ``bertscore``.
        threshold: if given, the reward is 1 from this value on, and 0 below.

    Raises:
        InputError: a value is out of range, or ``bertscore`` and an encoder do not stand together.
    """

    def __init__(
        self, measure: Measure = "changed_tokens", encoder: str | None = None, threshold: float | None = None
    ) -> None:
        if measure not in MEASURES:
            raise InputError(f"NextStateReward.measure: found {measure!r}, expected one of {', '.join(MEASURES)}")
        if (measure == "bertscore") != (encoder is not None):
            raise InputError(
                f"NextStateReward.encoder: found {encoder} with the measure {measure!r}, expected a model's folder or "
                "name with 'bertscore', and null with all others"
            )
        check_number_or_null("NextStateReward.threshold", threshold, above=0, most=1)
        self.measure: Measure = measure
        self.threshold = threshold
        self.bertscore = None if encoder is None else BertScore(encoder)

    def __call__(self, rollouts: Rollouts, task: ScoringTask, scorer: Policy) -> Rewards:
        """Score each distinct completion.

        Raises:
            InputError: the completions are actions.
        """
        if task.writes != "y":
            raise InputError(
                "NextStateReward: found actions to reward, expected next states; name it under model.vim_reward, and "
                "leave model.reward to the ELBO phase"
            )
        groups, ended = rollouts.prompt_of.tolist(), rollouts.finished.tolist()
        similar = [
            self._similarity(task, p, text) if end and text is not None else 0.0
            for p, end, text in zip(groups, ended, task.texts, strict=True)
        ]
        total_N = torch.tensor(similar, dtype=torch.float32, device=rollouts.logp.device)
        if self.threshold is None:
            return Rewards(total_N)
        return Rewards((total_N >= self.threshold).float(), {"similarity": total_N})

    def _similarity(self, task: ScoringTask, p: int, text: str) -> float:
        state, truth = task.transitions[p].state, task.transitions[p].next_state
        if self.measure == "exact":
            return float(text.strip() == truth.strip())
        if self.measure == "rouge_l":
            return rouge_l(text, truth)
        if self.bertscore is not None:
            self.bertscore.reset()
            self.bertscore.update([task.transitions[p]], [Prediction("", text)])
            return float(self.bertscore.compute())
        by_words = self.measure == "changed_tokens"
        return bag_f1(_changes(state, text, by_words), _changes(state, truth, by_words))


def _changes(x: str, y: str, by_words: bool) -> Counter[tuple[str, str]]:
    """What is taken from x and what is added to it, whole lines or their words; each with its sign."""
    changes: Counter[tuple[str, str]] = Counter()
    for sign, lines in zip("-+", changed_lines(x, y), strict=True):
        for line, count in lines.items():
            for part in line.split() if by_words else (line,):
                changes[sign, part] += count
    return changes
