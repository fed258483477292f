"""Predictions, each with what the judge says of it, and what all of that comes to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any, Literal

from swirl_lightning.metrics.judge.cache import AnswerCache
from swirl_lightning.metrics.judge.endpoint import Endpoint, OutOfBudget, Unanswered
from swirl_lightning.metrics.judge.question import Case, messages
from swirl_lightning.metrics.judge.rubric import Rubric

Status = Literal["scored", "malformed", "unparsed", "unanswered", "unasked"]
STATUSES: tuple[Status, ...] = ("scored", "malformed", "unparsed", "unanswered", "unasked")


@dataclass(frozen=True)
class Judgement:
    """What became of a prediction.

    Args:
        status: ``scored`` by the judge; ``malformed``: there is no prediction, which scores lowest and asks nobody;
            ``unparsed``: the answer is not what was asked for; ``unanswered``: the endpoint gave none; ``unasked``: the
            budget was spent. The last three have no score.
        score: of the prediction.
        numbers: of each criterion.
        answer: as the judge gave it.
        problem: why there is no score.
        cached: whether the answer was there already.
    """

    status: Status
    score: float | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    answer: str | None = None
    problem: str | None = None
    cached: bool = False


@dataclass(frozen=True)
class Judge:
    """A model with a rubric.

    Args:
        rubric: what is asked.
        endpoint: where.
        model: the model's name there.
        options: what else the request says, such as ``{"temperature": 0}``.
        cache: where answers are kept. Those that cannot be read are not, so that they are asked for again.
    """

    rubric: Rubric
    endpoint: Endpoint
    model: str
    options: Mapping[str, Any]
    cache: AnswerCache

    def judge_all(self, cases: Sequence[Case], parallel: int = 1) -> Iterator[Judgement]:
        """A judgement for each case, in their order, so many asked about at once.

        Raises:
            InputError: no request can be answered, or a case cannot be shown to the judge.
        """
        pool = ThreadPoolExecutor(parallel)
        try:
            yield from pool.map(self.judge, cases)
        except BaseException:
            self.endpoint.close()  # else the threads would go on with what they wait for
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def judge(self, case: Case) -> Judgement:
        """What the judge says of a case."""
        if case.prediction is None:
            return Judgement("malformed", self.rubric.least, dict.fromkeys(self.rubric.criteria, self.rubric.least))
        body = {"model": self.model, **self.options, "messages": messages(self.rubric, case)}
        kept = self.cache.get(self.endpoint.url, body)
        try:
            answer = self.endpoint.ask(body) if kept is None else kept
        except OutOfBudget:
            return Judgement("unasked", problem="the budget of requests is spent")
        except Unanswered as error:
            return Judgement("unanswered", problem=str(error))
        try:
            numbers = self.rubric.read_answer(answer)
        except ValueError as error:
            return Judgement("unparsed", answer=answer, problem=str(error))
        if kept is None:
            self.cache.put(self.endpoint.url, body, answer)
        return Judgement("scored", self.rubric.total(numbers), numbers, answer, cached=kept is not None)


def summarise(rubric: Rubric, judgements: Sequence[Judgement], turns: Sequence[int]) -> dict[str, Any]:
    """Counts by status, and means over what has a score, with their standard errors.

    Args:
        rubric: of the judgements.
        judgements: N of them.
        turns: the step of each in its episode, from 0. [N]

    Returns:
        ``score`` over the predictions that have one; ``score_at_worst``, with the lowest for each that has none;
        ``criteria``; and for a rubric that reports by turn ``turns``, numbered from 1, and ``mean_of_turns``.
    """
    scores = [j.score for j in judgements if j.score is not None]
    numbers = [j.numbers for j in judgements if j.score is not None]
    counts = Counter(j.status for j in judgements)
    found: dict[str, Any] = {
        "predictions": len(judgements),
        **{status: counts[status] for status in STATUSES},
        "from_cache": sum(j.cached for j in judgements),
        "score": _mean(scores),
        "standard_error": stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None,
        "score_at_worst": _mean([rubric.least if j.score is None else j.score for j in judgements]),
        "criteria": {name: _mean([its[name] for its in numbers]) for name in rubric.criteria},
    }
    if rubric.by_turn:
        by_turn: dict[int, list[float]] = {}
        for judgement, turn in zip(judgements, turns, strict=True):
            if judgement.score is not None:
                by_turn.setdefault(turn + 1, []).append(judgement.score)
        found["turns"] = {turn: {"score": mean(its), "n": len(its)} for turn, its in sorted(by_turn.items())}
        found["mean_of_turns"] = _mean([its["score"] for its in found["turns"].values()])
    return found


def _mean(values: Sequence[float]) -> float | None:
    return mean(values) if values else None
