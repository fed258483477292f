"""What a judge is asked, as data: a YAML file for each benchmark, and how its answer is read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from swirl_lightning.types import InputError, check_number

RUBRICS = Path(__file__).parent / "rubrics"
_OBJECT = re.compile(r"\{")


@dataclass(frozen=True)
class Rubric:
    """Criteria that a prediction is scored by.

    Args:
        name: of the file.
        states: what states are.
        task: what the judge is to do, in words.
        criteria: what each number says, by its name.
        least: lowest number.
        most: highest number.
        score: how the numbers of the criteria become the one of the prediction.
        by_turn: whether scores are reported for each step of an episode too.
    """

    name: str
    states: Literal["images", "text"]
    task: str
    criteria: Mapping[str, str]
    least: float
    most: float
    score: Literal["lowest", "mean"]
    by_turn: bool = False

    def total(self, numbers: Mapping[str, float]) -> float:
        """The score of a prediction."""
        values = list(numbers.values())
        return min(values) if self.score == "lowest" else sum(values) / len(values)

    def read_answer(self, answer: str) -> dict[str, float]:
        """The numbers in a judge's answer: of the one JSON object in it that has them all.

        Raises:
            ValueError: there is no such object, or there are several that differ, or a number is out of range. Nothing
                is guessed, and nothing is clipped.
        """
        found = [its for its in _objects(answer) if its.keys() >= self.criteria.keys()]
        picked = [{name: its[name] for name in self.criteria} for its in found]
        if not picked:
            raise ValueError(f"found no JSON object with {', '.join(self.criteria)}")
        if any(its != picked[0] for its in picked):
            raise ValueError(f"found {len(picked)} JSON objects that differ, expected one")
        for name, value in picked[0].items():
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not (number and self.least <= value <= self.most):
                raise ValueError(f"{name}: found {value!r:.40}, expected a number from {self.least:g} to {self.most:g}")
        return {name: float(value) for name, value in picked[0].items()}


def read_rubric(name: str) -> Rubric:
    """A rubric that comes with the package, by its name, or one of your own, by the path of its file.

    Raises:
        InputError: there is no such rubric, or its file is not one.
    """
    path = RUBRICS / f"{name}.yaml" if name in known_rubrics() else Path(name)
    if not path.is_file():
        raise InputError(
            f"--rubric: found {name!r}, expected one of {', '.join(known_rubrics())}, or the YAML file of your own"
        )
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
        return _checked(path, read)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        told = " ".join(str(error).split())
        raise InputError(f"{path}: found no valid YAML ({told:.200}); mend the file") from error


def known_rubrics() -> list[str]:
    """Names of those that come with the package."""
    return sorted(path.stem for path in RUBRICS.glob("*.yaml"))


def _checked(path: Path, read: Any) -> Rubric:
    keys = {field.name: field.default for field in fields(Rubric) if field.name != "name"}
    if not isinstance(read, dict) or (wrong := [key for key in read if key not in keys]):
        found = f"the key {wrong[0]!r}" if isinstance(read, dict) else f"{type(read).__name__}"
        raise InputError(f"{path}: found {found}, expected the keys {', '.join(keys)}")
    if missing := [key for key in keys if key != "by_turn" and key not in read]:
        raise InputError(f"{path}: {missing[0]}: missing; expected the keys {', '.join(keys)}")
    for key, allowed in (("states", ("images", "text")), ("score", ("lowest", "mean")), ("by_turn", (True, False))):
        if key in read and read[key] not in allowed:
            raise InputError(f"{path}: {key}: found {read[key]!r:.40}, expected one of {', '.join(map(str, allowed))}")
    for key in ("least", "most"):
        if isinstance(read[key], bool) or not isinstance(read[key], int | float):
            raise InputError(f"{path}: {key}: found {read[key]!r:.40}, expected a number")
    check_number(f"{path}: most", read["most"], above=read["least"])
    criteria = read["criteria"]
    texts = {"task": read["task"]} | (criteria if isinstance(criteria, dict) else {"criteria": None})
    for key, text in texts.items():
        if not (isinstance(key, str) and isinstance(text, str) and text.strip()):
            raise InputError(f"{path}: {key}: found {text!r:.40}, expected words; criteria have a name and its words")
    if not criteria:
        raise InputError(f"{path}: criteria: found none, expected one at least")
    return Rubric(path.stem, **read)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text, from the left; those inside another one are not looked at."""
    decoder, place = json.JSONDecoder(), 0
    while found := _OBJECT.search(text, place):
        try:
            its, place = decoder.raw_decode(text, found.start())
        except (ValueError, RecursionError):
            place = found.end()
        else:
            yield its
