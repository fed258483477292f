"""A state continued through a list of actions by the FWM."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from swirl_lightning.engine import Sampling
from swirl_lightning.environments.kept import Kept
from swirl_lightning.modules import SWIRL
from swirl_lightning.modules.prediction import predict_next
from swirl_lightning.pictures import SUFFIXES, name_picture, png, strip, write_film
from swirl_lightning.trained.files import read_text, whole
from swirl_lightning.trained.load import environment_of, identity
from swirl_lightning.types import InputError, check_number

SURROGATE = re.compile("[\ud800-\udfff]")


class Step(NamedTuple):
    """One step of a rollout.

    Args:
        action: what was done.
        state: the state it led to; None where the prediction is malformed.
        logp: log-probability of the prediction, in nats.
        problem: what is wrong with a malformed prediction, else None.
    """

    action: str
    state: str | None
    logp: float
    problem: str | None = None


def roll_out(
    model: SWIRL,
    state: str,
    actions: Sequence[str],
    *,
    environment: str | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    kept: Kept | None = None,
) -> list[Step]:
    """Feed each predicted state back in, action by action. A malformed prediction is the last step.

    Args:
        model: of ``load_run``.
        state: the first state.
        actions: T actions.
        environment: whose prompts are used; None takes the only one that the run had.
        temperature: of the draws; 0 takes the most probable token each time.
        seed: of the draws.
        kept: steps of the same rollout that are on disk, from which it goes on, and where new ones go; of
            ``kept_steps``.

    Returns:
        T steps, or fewer where one is malformed: then the last has no state.
    """
    check_number("--temperature", temperature, least=0)
    environment, sampling = environment_of(model, environment), Sampling(temperature)
    steps = [Step(**row) for row in kept.rows] if kept else []
    for t in range(len(steps), len(actions)):
        before = steps[-1].state if steps else state
        if before is None:
            break
        (found,) = predict_next(model, [before], [actions[t]], environment, sampling=sampling, seeds=[seed + t])
        steps.append(Step(actions[t], *found))
        if kept:
            kept.add([steps[-1]._asdict()])
    return steps


def kept_steps(model: SWIRL, state: str, actions: Sequence[str], out: Path, **options: Any) -> Kept:
    """The steps of a rollout on disk, beside the file that they are for, until that is whole.

    Args:
        model: of ``load_run``.
        state: the first state.
        actions: T actions.
        out: the file.
        options: of ``roll_out``.
    """
    given = {"state": blake2b(state.encode(), digest_size=16).hexdigest(), "actions": list(actions), **options}
    return Kept(out.with_name(f"{out.name}.kept"), given | identity(model, model.fwm), "steps that were taken")


def views_of(out: Path) -> tuple[Path, Path]:
    """Where a strip and a film of pictures go, beside a file of the steps."""
    return out.with_suffix(".png"), out.with_suffix(".gif")


def read_state(path: Path) -> str:
    """The state of a file: a picture, where its name ends as that of an image, or else its text.

    Raises:
        InputError: it cannot be read.
    """
    if path.suffix.lower() not in SUFFIXES:
        return read_text(path, "--state")
    try:
        return name_picture(path)
    except InputError as error:
        raise InputError(f"--state: {error}") from error


def write_views(model: SWIRL, state: str, steps: Sequence[Step], out: Path) -> list[str]:
    """Write what a person is shown of the states beside a file of the steps: a strip and a film; nothing of texts.

    Args:
        model: of ``load_run``.
        state: the first state.
        steps: of ``roll_out``.
        out: the file of the steps.

    Returns:
        A line that names each file.
    """
    views = [model.codec.view(its) for its in (state, *(step.state for step in steps)) if its is not None]
    pictures = [view for view in views if view is not None]
    if not pictures:
        return []
    image, film = views_of(out)
    with whole(image) as still, whole(film) as moving:
        still.write_bytes(png(strip(pictures)))
        write_film(moving, pictures)
    return [f"strip: {image}", f"film:  {film}"]


def read_actions(path: Path) -> list[str]:
    """The actions of a file: a JSON list of texts, or one a line.

    Raises:
        InputError: there is none, or one is no text or empty.
    """
    text = read_text(path, "--actions")
    listed = text.lstrip().startswith("[")
    try:
        actions = json.loads(text) if listed else text.split("\n")
    except (ValueError, RecursionError) as error:
        raise InputError(f"--actions: {path}: found no valid JSON ({error}), expected a list of texts") from error
    for number, action in enumerate(actions, start=1):
        if not (isinstance(action, str) and action.strip() and not SURROGATE.search(action)):
            place = f"{path}: entry {number}" if listed else f"{path}:{number}"
            raise InputError(
                f"--actions: {place}: found {action!r:.80}, expected an action: Unicode, one a line, or a JSON list"
            )
    if not actions:
        raise InputError(f"--actions: {path}: found an empty list, expected an action at least")
    return [action.removesuffix("\r") for action in actions]
