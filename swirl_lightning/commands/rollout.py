"""``swirl rollout``: a trained run continues a state through a list of actions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swirl_lightning.commands.run_options import add_environment, read, run_parser
from swirl_lightning.pictures import is_picture
from swirl_lightning.types import say

if TYPE_CHECKING:
    from swirl_lightning.trained.rollout import Step


def rollout(args: list[str]) -> int:
    """Print the steps. Returns 0 where all actions were taken, 1 where a prediction was malformed."""
    parser = run_parser("rollout", "Continue a state through a list of actions, each predicted state fed back in.")
    parser.add_argument(
        "--state", type=Path, required=True, help="a file with the text of the first state, or its picture"
    )
    parser.add_argument("--actions", type=Path, required=True, help="a file with an action a line, or a JSON list")
    parser.add_argument(
        "--out",
        type=Path | None,
        help="write the steps here too, with the whole states, as JSONL; of pictures, also a PNG and a GIF beside it",
    )
    add_environment(parser)
    parser.add_argument("--temperature", type=float, default=0.0, help="of the draws; 0 takes the most probable token")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws")
    options, load = read(parser, args)

    from swirl_lightning.trained.files import check_new, whole
    from swirl_lightning.trained.rollout import kept_steps, read_actions, read_state, roll_out, views_of, write_views

    state, actions = read_state(options.state), read_actions(options.actions)
    if options.out and is_picture(state):
        for path in views_of(options.out):
            check_new(path)
    model = load()
    asked = {"environment": options.environment, "temperature": options.temperature, "seed": options.seed}
    with kept_steps(model, state, actions, options.out, **asked) if options.out else nullcontext() as kept:
        steps = roll_out(model, state, actions, **asked, kept=kept)
        rows = _rows(model.codec.comparable(state), steps)
        say("\n\n".join(_shown(row) for row in rows))
        done = sum(step.state is not None for step in steps)
        if done < len(actions):
            say(f"\nstopped after {done} of {len(actions)} actions: there is no state to go on from")
        if options.out:
            views = write_views(model, state, steps, options.out)
            with whole(options.out) as part:
                part.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
            say("\n".join(["", f"steps: {options.out}", *views]))
    return 0 if done == len(actions) else 1


def _rows(state: str, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The steps as objects, numbered from 1."""
    from swirl_lightning.codecs import encode_delta

    rows = []
    for number, step in enumerate(steps, start=1):
        row: dict[str, Any] = {"step": number, "action": step.action, "state": step.state, "logp": step.logp}
        if step.state is None:
            row["problem"] = step.problem
        else:
            row["change"], state = encode_delta(state, step.state), step.state
        rows.append(row)
    return rows


def _shown(row: dict[str, Any]) -> str:
    head = f"{row['step']}. {row['action']}    (log-prob {row['logp']:.2f})"
    return f"{head}\n{'malformed: ' + row['problem'] if row['state'] is None else row['change'] or 'nothing changes'}"
