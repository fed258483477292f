"""The claims of AURORA's DiscEdit as published: ``disc_edit_data/TASK/valid.json`` and ``itm_test.json``."""

from __future__ import annotations

from pathlib import Path

from swirl_lightning.environments.benchmark import check_row, read_json, told_missing
from swirl_lightning.metrics.choice import Claim
from swirl_lightning.pictures import name_picture
from swirl_lightning.types import InputError

FOLDER = "disc_edit_data"
FILES = ("valid.json", "itm_test.json")


def read_claims(root: Path, tasks: tuple[str, ...]) -> list[Claim]:
    """The claims of these tasks, of those whose files are there. Claims without their picture are left out, and said.

    A row has ``input``, or ``image``, and the true instruction in ``pos``; rows without it are none, as in the release.
    The false one is ``neg``, or else ``prompt``.

    Raises:
        InputError: there is no such file, or one is not as published, or there is no picture.
    """
    found: list[Claim] = []
    missing: list[str] = []
    files = [(task, path) for task in tasks for name in FILES if (path := root / FOLDER / task / name).is_file()]
    if not files:
        raise InputError(f"{root / FOLDER}: found no {' or '.join(FILES)} of {', '.join(tasks)}, expected one")
    for task, path in files:
        rows = read_json(path)
        if not isinstance(rows, list):
            raise InputError(f"{path}: found {type(rows).__name__}, expected a JSON list of rows")
        for n, row in enumerate(rows):
            where = f"{path}: row {n}"
            if not isinstance(row, dict) or not row.get("pos"):
                continue
            image = "input" if "input" in row else "image"
            false = "neg" if row.get("neg") else "prompt"
            check_row(where, row, (image, "pos", false))
            if not (root / row[image]).is_file():
                missing.append(row[image])
                continue
            try:
                found.append(Claim(name_picture(root / row[image]), row["pos"], row[false], task))
            except InputError as error:
                raise InputError(f"{where}: {image}: {error}") from error
    told_missing(root / FOLDER, missing, len(found) + len(missing), skip=True)
    if not found:
        raise InputError(f"{root / FOLDER}: found no row with pos, expected some; take the files as published")
    return found
