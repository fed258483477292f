"""``swirl label``, ``swirl rollout`` and ``swirl export``: what a finished run is used for."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from swirl_lightning.codecs import encode_delta
from swirl_lightning.modules import SWIRL
from swirl_lightning.trained import export as exporting
from swirl_lightning.trained import label as labelling
from swirl_lightning.trained.files import check_new, read_text, whole
from swirl_lightning.trained.load import load_run
from swirl_lightning.trained.rollout import Step, read_actions, roll_out

OVERRIDE = "--model."


def label(args: list[str]) -> int:
    """``swirl label RUN LOG --out FILE``: 0 where an action was written, 1 where none could be."""
    parser = _parser("label", "Let the run's IDM write the actions into a state-only log.")
    parser.add_argument("log", type=Path, help="rows episode, step, state, next_state in .jsonl, .jsonl.gz or .parquet")
    parser.add_argument("--out", type=Path, required=True, help="the labelled log to write; its log-probs go beside it")
    _environment(parser)
    parser.add_argument(
        "--samples", type=int, default=0, help="take the most probable of the greedy action and so many samples"
    )
    parser.add_argument("--batch_size", type=int, default=64, help="rows that are asked about together")
    parser.add_argument("--seed", type=int, default=0, help="of the samples")
    options, load = _read(parser, args)
    counts = labelling.label(
        load(), options.log, options.out, environment=options.environment, samples=options.samples,
        batch_size=options.batch_size, seed=options.seed,
    )  # fmt: skip
    print(f"log:    {options.out}\nscores: {labelling.scores_path(options.out)}")
    return 0 if counts.labelled + counts.kept else 1


def rollout(args: list[str]) -> int:
    """``swirl rollout RUN --state FILE --actions FILE``: 0 where all actions were taken, 1 where one could not be."""
    parser = _parser("rollout", "Continue a state through a list of actions, each predicted state fed back in.")
    parser.add_argument("--state", type=Path, required=True, help="a file with the text of the first state")
    parser.add_argument("--actions", type=Path, required=True, help="a file with an action a line, or a JSON list")
    parser.add_argument("--out", type=Path, help="write the steps here too, whole states included, as JSONL")
    _environment(parser)
    parser.add_argument("--temperature", type=float, default=0.0, help="of the draws; 0, the default, is greedy")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    options, load = _read(parser, args)
    state, actions = read_text(options.state, "--state"), read_actions(options.actions)
    steps = roll_out(
        load(), state, actions, environment=options.environment, temperature=options.temperature, seed=options.seed
    )
    rows = _rows(state, steps)
    print("\n\n".join(_shown(row) for row in rows))
    done = sum(step.state is not None for step in steps)
    if done < len(actions):
        print(f"\nstopped after {done} of {len(actions)} actions: there is no state to go on from")
    if options.out:
        with whole(options.out) as part:
            part.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        print(f"\nsteps: {options.out}")
    return 0 if done == len(actions) else 1


def export(args: list[str]) -> int:
    """``swirl export RUN --out FOLDER``."""
    parser = _parser("export", "Write both roles as folders that peft and transformers load, with model cards.")
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument(
        "--merge", choices=("true", "false"), default="false", help="add adapters to their base; write whole models"
    )
    parser.add_argument("--base_model", help="the base's name on the hub, where the run loaded it from a folder")
    options, load = _read(parser, args)
    exporting.export(load(), options.run, options.out, merge=options.merge == "true", base_model=options.base_model)
    print(f"exported: {options.out / 'fwm'}\n          {options.out / 'idm'}")
    return 0


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"swirl {name}",
        description=f"{description} A setting of the run's model is changed as in swirl fit, for example "
        "--model.base.name=FOLDER for a base that lies elsewhere by now.",
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, help="the run's folder, which holds config.yaml and checkpoints")
    parser.add_argument("--checkpoint", type=Path, help="instead of RUN/checkpoints/last.ckpt")
    parser.add_argument("--device", default="auto", help="auto (a GPU where there is one), cpu, cuda or cuda:1")
    return parser


def _environment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--environment", help="whose prompts are used, where the run had several environments")


def _read(parser: argparse.ArgumentParser, args: list[str]) -> tuple[argparse.Namespace, Callable[[], SWIRL]]:
    """The command's own options, and what loads the model as they and the options ``--model...`` say.

    What takes long comes after what can be wrong.
    """
    options, others = parser.parse_known_args(args)
    overrides: dict[str, str] = {}
    while others:
        name, given, value = others.pop(0).partition("=")
        if not name.startswith(OVERRIDE) or not (given or others):
            parser.error(f"unrecognized arguments: {name}{given}{value}")
        overrides[name.removeprefix(OVERRIDE)] = value if given else others.pop(0)
    if options.out:
        check_new(options.out)
    return options, partial(load_run, options.run, options.checkpoint, options.device, **overrides)


def _rows(state: str, steps: list[Step]) -> list[dict[str, Any]]:
    """The steps as objects, numbered from 1."""
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
