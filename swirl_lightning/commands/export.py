"""``swirl export``: the models of a trained run as folders that other programs load."""

from __future__ import annotations

from pathlib import Path

from swirl_lightning.commands.run_options import read, run_parser
from swirl_lightning.types import say


def export(args: list[str]) -> int:
    """Write both folders and print where they are."""
    parser = run_parser("export", "Write both models as folders that peft and transformers load, with model cards.")
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument("--merge", type=bool, default=False, help="add adapters to their base and write whole models")
    parser.add_argument(
        "--base_model", type=str | None, help="the base model's name on the hub, where the run loaded it from a folder"
    )
    options, load = read(parser, args)

    from swirl_lightning.trained.export import export as write_folders

    write_folders(load(), options.run, options.out, merge=options.merge, base_model=options.base_model)
    say(f"exported: {options.out / 'fwm'}\n          {options.out / 'idm'}")
    return 0
