"""The IDM writes the actions into a state-only log."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch

from swirl_lightning.engine import GREEDY, Sampling
from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.environments.kept import Kept
from swirl_lightning.environments.rows import Numbered, fields_of, scan_rows
from swirl_lightning.modules import SWIRL
from swirl_lightning.trained.files import rows_files
from swirl_lightning.trained.load import environment_of, identity
from swirl_lightning.types import Ids, InputError, Transition

log = logging.getLogger(__name__)


class Label(NamedTuple):
    """What the IDM says of a row.

    Args:
        action: None where it says nothing of use.
        logp: log Q(z | x, y), end token included, in nats at temperature 1.
        tokens: of the action, end token included.
        reason: why there is no action, else None.
    """

    action: str | None
    logp: float | None = None
    tokens: int | None = None
    reason: str | None = None


class Counts(NamedTuple):
    """Rows of a log by what became of them: the IDM wrote an action, one was there, none could be written."""

    labelled: int
    kept: int
    left_out: int


def scores_path(out: Path) -> Path:
    """The file beside a labelled log that holds the log-probs."""
    return out.with_name(out.name.split(".")[0] + ".scores.jsonl")


def label(
    model: SWIRL,
    log_file: Path,
    out: Path,
    *,
    environment: str | None = None,
    samples: int = 0,
    batch_size: int = 64,
    seed: int = 0,
) -> Counts:
    """Write a log again with the actions that the IDM names, in the order of its rows.

    ``out`` is a labelled log. Beside it ``<name>.scores.jsonl`` says of every row of the log, in order, where its
    action is from and how probable the IDM finds it. A row that has an action keeps it. A row that gets none (it is
    too long, or what the IDM wrote has no end) stands in the scores alone, with the reason.

    Until both are whole, every batch of labels is kept in ``<out>.kept``: where a disk fills, a signal comes or the log
    turns out to be malformed, the same call goes on from there.

    Args:
        model: of ``load_run``.
        log_file: the log, in JSONL, gzipped JSONL or Parquet.
        out: the file to write, in one of these formats.
        environment: whose prompts are used; None takes the only one that the run had.
        samples: the most probable of the greedy action and so many samples is taken; 0 takes the greedy one.
        batch_size: rows that are read and asked about together.
        seed: of the samples; those of a row depend on the row's line alone.

    Raises:
        InputError: the log is malformed, or a file of that name is there.
    """
    for name, value, least in (("--samples", samples, 0), ("--batch_size", batch_size, 1)):
        if value < least:
            raise InputError(f"{name}: found {value}, expected at least {least}")
    environment = environment_of(model, environment)
    counts: Counter[str] = Counter()
    arguments = identity(model, model.idm) | {"environment": environment, "samples": samples, "seed": seed}
    with (
        Kept(out.with_name(f"{out.name}.kept"), arguments, "labels that were written") as kept,
        rows_files(out, scores_path(out)) as (write, write_scores),
    ):
        before = {(row.pop("line"), row.pop("row")): Label(**row) for row in map(dict, kept.rows)}
        for batch in _batches(log_file, batch_size):
            unnamed = [(line, t) for line, t in batch if t.action is None]
            labels = {line: before[line, t.key.hex()] for line, t in unnamed if (line, t.key.hex()) in before}
            unknown = [(line, t) for line, t in unnamed if line not in labels]
            named = name_actions(
                model, [t for _, t in unknown], environment, samples=samples, seeds=[seed + line for line, _ in unknown]
            )
            new = zip(unknown, named, strict=True)
            kept.add({"line": line, "row": t.key.hex(), **given._asdict()} for (line, t), given in new)
            labels |= {line: given for (line, _), given in zip(unknown, named, strict=True)}
            rows, scores = [], []
            for line, t in batch:
                given = labels.get(line, Label(t.action))
                source = "none" if given.action is None else "idm" if line in labels else "log"
                counts[source] += 1
                scores.append(_score(line, t, source, given))
                if given.action is not None:
                    rows.append(fields_of(t, out.parent) | {"action": given.action})
            write(rows)
            write_scores(scores)
    result = Counts(counts["idm"], counts["log"], counts["none"])
    log.info("%d rows labelled, %d kept their action, %d left out: see %s", *result, scores_path(out))
    return result


@torch.no_grad()
def name_actions(
    model: SWIRL,
    transitions: Sequence[Transition],
    environment: str = "",
    *,
    samples: int = 0,
    seeds: Sequence[int] | None = None,
) -> list[Label]:
    """The action that leads from each state to its next state, as the IDM names it.

    Args:
        model: a SWIRL that is set up.
        transitions: N transitions; their actions are not looked at.
        environment: whose prompts are used.
        samples: drawn beside the greedy action; the most probable one that ends is taken.
        seeds: N seeds of the samples.
    """
    prompts: dict[int, Ids] = {}
    labels: dict[int, Label] = {}
    for n, t in enumerate(transitions):
        try:
            pair = Transition(t.episode, t.step, t.state, t.next_state, None, environment)
            code = model.codec.encode(pair, keep=False)
        except InputError as error:
            labels[n] = Label(None, reason=str(error))
        else:
            prompts[n] = model.idm.prompt(code, code.given)
    if prompts:
        texts, places = list(prompts.values()), list(prompts)
        candidates: dict[int, list[Label]] = {n: [] for n in places}
        drawn = [_draw(model, texts, [0] * len(texts), 1, GREEDY)]  # first, and taken where no sample is better
        if samples:
            drawn.append(_draw(model, texts, [seeds[n] if seeds else n for n in places], samples, Sampling()))
        for rollouts in drawn:
            for p, candidate in _read(model, rollouts):
                candidates[places[p]].append(candidate)
        labels |= {n: max(group, key=_worth) for n, group in candidates.items()}
    return [labels[n] for n in range(len(transitions))]


def _draw(model: SWIRL, prompts: list[Ids], seeds: list[int], size: int, sampling: Sampling) -> Rollouts:
    return model.idm.policy.generate(
        prompts, seeds, group_size=size, max_tokens=model.idm.max_new_tokens, sampling=sampling
    )


def _read(model: SWIRL, rollouts: Rollouts) -> Iterator[tuple[int, Label]]:
    """Each distinct completion as a label, with the number of its prompt."""
    numbers = (rollouts.prompt_of.tolist(), rollouts.finished.tolist(), rollouts.logp.sum(1).tolist())
    for ids, p, ended, logp in zip(rollouts.completions, *numbers, strict=True):
        action = model.codec.action(ids)
        if not ended:
            reason = f"found no end within {model.idm.max_new_tokens} tokens (model.idm.max_new_tokens): {action!r}"
            yield p, Label(None, reason=reason)
        elif not action.strip():
            yield p, Label(None, reason="found an empty action")
        else:
            yield p, Label(action, logp, len(ids) + 1)


def _worth(candidate: Label) -> float:
    return -math.inf if candidate.logp is None else candidate.logp


def _score(line: int, t: Transition, source: str, given: Label) -> dict[str, Any]:
    """A row of the scores; a log has log-probs for what the IDM wrote alone."""
    score: dict[str, Any] = {"line": line, "episode": t.episode, "step": t.step, "action": given.action}
    if source == "none":
        return score | {"source": source, "reason": given.reason}
    if given.logp is None or given.tokens is None:
        return score | {"source": source}
    return score | {
        "source": source, "action_logp": given.logp, "action_logp_mean": given.logp / given.tokens,
    }  # fmt: skip


def _batches(path: Path, size: int) -> Iterator[list[Numbered]]:
    rows = scan_rows(path)
    while batch := list(islice(rows, size)):
        yield batch
