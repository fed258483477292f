"""``swirl label``: a trained run, or a person, writes the actions into a state-only log."""

from __future__ import annotations

from pathlib import Path

from swirl_lightning.commands.label_by_hand import ANSWERS, ASK, USAGE, ask, fill
from swirl_lightning.commands.run_options import add_environment, read, run_parser
from swirl_lightning.types import say


def label(args: list[str]) -> int:
    """Write the labelled log and its scores. Returns 0 where the log has an action, 1 where none could be written."""
    given = {arg.partition("=")[0] for arg in args}
    if ASK in given:
        return ask(args)
    if ANSWERS in given:
        return fill(args)
    parser = run_parser("label", "Let the Inverse Dynamics Model of a run write the actions into a state-only log.")
    parser.add_argument(
        "log", type=Path, metavar="LOG", help="rows episode, step, state, next_state in .jsonl, .jsonl.gz or .parquet"
    )
    parser.add_argument("--out", type=Path, required=True, help="the labelled log to write; its log-probs go beside it")
    add_environment(parser)
    parser.add_argument(
        "--samples", type=int, default=0, help="take the most probable of the greedy action and so many samples"
    )
    parser.add_argument(ASK, metavar="N", help=f"choose steps for a person to label; needs no run: {USAGE[ASK]}")
    parser.add_argument(ANSWERS, metavar="FORM", help=f"put a person's labels into the log: {USAGE[ANSWERS]}")
    parser.add_argument("--batch_size", type=int, default=64, help="rows that are asked about together")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples")
    options, load = read(parser, args)

    from swirl_lightning.trained.label import label as write_labels
    from swirl_lightning.trained.label import scores_path

    counts = write_labels(
        load(), options.log, options.out, environment=options.environment, samples=options.samples,
        batch_size=options.batch_size, seed=options.seed,
    )  # fmt: skip
    say(f"log:    {options.out}\nscores: {scores_path(options.out)}")
    return 0 if counts.labelled + counts.kept else 1
