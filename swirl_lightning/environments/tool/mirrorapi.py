"""MirrorAPI-Bench (``stabletoolbench/MirrorAPI-Bench``) in its official layout: one call of one API a row.

A row has the fields ``system``, ``instruction`` and ``output``. The instruction holds ``API doc:`` with a Python dict
and ``Request:`` with another; the output is the API's JSON, ``error`` and ``response``. As a transition:

- state: the documentation as JSON, one key a line. The system prompt is the same in all rows and left out.
- action: the API's name and the request's ``tool_input``. The request's other keys repeat the documentation.
- next state: the state and below it the response as JSON, one key a line; what is no JSON stands as it is.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from swirl_lightning.environments.splits import SPLITS, Fractions, Split, divide
from swirl_lightning.environments.tool.call import write_call
from swirl_lightning.environments.tool.result import pretty, result_block
from swirl_lightning.types import InputError, Transition

FOLDER = "test_sft"
DOC, REQUEST = "API doc:", "Request:"
FIELDS = ("system", "instruction", "output")
EXTRA_FIELDS = ("input", "history")  # LLaMA-Factory's other fields; they must be empty
TestSplit = Literal["id_high", "id_medium", "id_low", "ood", "ood_failure"]
TEST_SPLITS: tuple[TestSplit, ...] = get_args(TestSplit)

Keyed = tuple[str, Transition]
"""A transition with its API, by which data is divided."""


@dataclass(frozen=True)
class MirrorOptions:
    """Which files and rows are read; ``ToolDataModule`` says more."""

    train_file: str
    test_splits: Sequence[TestSplit] | None
    divide_test: bool
    max_chars: int | None


def read_mirrorapi(
    folder: Path, options: MirrorOptions, fractions: Fractions, seed: int
) -> dict[Split, list[Transition]]:
    """The four splits: test from the test files, the others from the training file, divided by API.

    Raises:
        InputError: a file is missing or malformed, or there are too few APIs to divide.
    """
    test = _read_test(folder, options.test_splits)
    train = folder / options.train_file
    if train.is_file():
        parts = divide(_read_file(train), fractions, seed, "API")
        parts["validation"] += parts["test"]
        parts["test"] = [t for _, t in test]
    elif options.divide_test:
        rank_zero_warn(
            f"{folder}: divide_test: the {len(test)} test rows are divided by API into {', '.join(SPLITS)}: a trial, "
            "whose scores compare with no one's"
        )
        parts = divide(test, fractions, seed, "API")
    else:
        rank_zero_warn(
            f"{folder}: found no {options.train_file}, so there is a test split alone: labelled, state_only and "
            f"validation come from training rows; put {options.train_file} beside {FOLDER}/, name another file with "
            "train_file, or set divide_test to true to divide the test rows for a trial"
        )
        parts = {split: [] for split in SPLITS} | {"test": [t for _, t in test]}
    parts["state_only"] = [replace(t, action=None) for t in parts["state_only"]]
    return _drop_long(folder, parts, options.max_chars)


def transition(where: str, name: str, row: Any) -> Keyed | None:
    """A row as an episode of one step; None where the documentation is cut off and the request with it.

    Raises:
        InputError: a field is missing, unknown or no text, or the row has a request without documentation.
    """
    if not isinstance(row, dict):
        raise InputError(f"{where}: found {type(row).__name__}, expected an object with {', '.join(FIELDS)}")
    if missing := [field for field in FIELDS if field not in row]:
        raise InputError(f"{where}: {missing[0]}: missing; found {sorted(row)}, expected {', '.join(FIELDS)}")
    for field, value in row.items():
        if field in EXTRA_FIELDS and not value:
            continue
        if field not in FIELDS:
            raise InputError(f"{where}: {field}: found an unknown field, expected {', '.join(FIELDS)}; remove it")
        if not isinstance(value, str):
            raise InputError(f"{where}: {field}: found {type(value).__name__}, expected text; write it as a string")
    before, mark, request_text = row["instruction"].rpartition(f"\n{REQUEST}\n")
    doc_text = (before if mark else row["instruction"]).strip()
    if not doc_text.startswith(DOC) or not (doc_text := doc_text.removeprefix(DOC).strip()):
        raise InputError(
            f"{where}: instruction: found {'an action but no state' if mark else 'no state'}: a request needs the "
            f"documentation of its API, after {DOC!r} and before {REQUEST!r}; add it, or leave the row out"
        )
    if not mark:
        return None
    doc, request = _dict(doc_text), _dict(request_text.strip())
    if request is None or not isinstance(api := request.get("api_name"), str):
        raise InputError(
            f"{where}: instruction: found no request that can be read after {REQUEST!r}, expected a dict with api_name "
            "and tool_input; restore the row"
        )
    state = doc_text if doc is None else pretty(doc)
    action = write_call(api, _arguments(request.get("tool_input", {})))
    key = json.dumps([(doc or {}).get(k, request.get(k)) for k in ("tool_category", "tool_name", "api_name")])
    return key, Transition(name, 0, state, f"{state}\n{_response(row['output'].strip())}", action)


def _read_test(folder: Path, splits: Sequence[str] | None) -> list[Keyed]:
    if splits is not None and (unknown := [split for split in splits if split not in TEST_SPLITS]):
        raise InputError(f"test_splits: found {unknown[0]!r}, expected names from {', '.join(TEST_SPLITS)}")
    paths = {split: folder / FOLDER / f"{split}.json" for split in splits or TEST_SPLITS}
    there = [path for path in paths.values() if path.is_file()]
    if not there or (splits and len(there) < len(paths)):
        missing = next(path for path in paths.values() if not path.is_file())
        raise InputError(
            f"{missing}: no such file; expected MirrorAPI-Bench as published, "
            f"{FOLDER}/{{{','.join(TEST_SPLITS)}}}.json; check the path, or download stabletoolbench/MirrorAPI-Bench"
        )
    return [keyed for path in there for keyed in _read_file(path)]


def _read_file(path: Path) -> list[Keyed]:
    try:
        rows = json.loads(path.read_bytes().decode())
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: found no UTF-8 at byte {error.start}; convert the file to UTF-8") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{error.lineno}: found broken JSON ({error.msg}, column {error.colno}, character {error.pos}), "
            "expected a list of rows; a download that stopped early looks like this: fetch the file again"
        ) from error
    except (ValueError, RecursionError) as error:  # numbers of 5,000 digits, lists within lists without an end
        raise InputError(f"{path}: found JSON that cannot be read ({error}); fetch the file again") from error
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{path}: found {type(rows).__name__ if rows else 'no rows'}, expected a JSON list of rows")
    found = [transition(f"{path}: row {n}", f"{path.stem}-{n:05d}", row) for n, row in enumerate(rows)]
    if cut := [str(n) for n, keyed in enumerate(found) if keyed is None]:
        rank_zero_warn(
            f"{path}: {len(cut)} of {len(found)} rows end before their request, so that no call is known; they are "
            f"left out: {', '.join(cut[:10])}{', ...' if len(cut) > 10 else ''}, counted from 0"
        )
    return [keyed for keyed in found if keyed is not None]


def _drop_long(
    folder: Path, parts: dict[Split, list[Transition]], max_chars: int | None
) -> dict[Split, list[Transition]]:
    if max_chars is None:
        return parts
    fits = {s: [t for t in its if len(t.next_state) + len(t.action or "") <= max_chars] for s, its in parts.items()}
    long = {split: len(its) - len(fits[split]) for split, its in parts.items()}
    if left_out := ", ".join(f"{count} of {len(parts[split])} in {split}" for split, count in long.items() if count):
        rank_zero_warn(f"{folder}: rows of more than {max_chars} characters are left out: {left_out}")
    return fits


def _dict(text: str) -> dict[str, Any] | None:
    """A dict as Python or JSON writes it."""
    for read in (ast.literal_eval, json.loads):
        try:
            found = read(text)
            json.dumps(found)  # Python has literals that JSON does not know
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, dict) else None
    return None


def _arguments(tool_input: Any) -> Any:
    """The arguments as a dict; text that holds none as it stands."""
    if isinstance(tool_input, str) and tool_input.strip():
        try:
            read = json.loads(tool_input)
        except (ValueError, RecursionError):
            return tool_input
        return read if isinstance(read, dict) else tool_input
    return tool_input or {}


def _response(output: str) -> str:
    """The output one key a line, a response that is the repr of a dict or list opened too.

    ``str`` of the opened response is the text that it was, so that a flattened output stays the same to the letter.
    """
    try:
        answer = json.loads(output)
        inner = ast.literal_eval(answer["response"])
        same = isinstance(inner, dict | list) and json.loads(json.dumps(inner)) == inner and repr(inner)
        if same == answer["response"]:
            return pretty({**answer, "response": inner})
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
        pass
    return result_block(output)
