"""Mind2Web (arXiv 2306.06070): the official files, read a task at a time.

A folder ``data`` holds ``train/train_*.json`` and the test splits ``test_task``, ``test_website`` and ``test_domain``
with ``test_*_*.json``. A file is a list of tasks; each of a task's actions comes with the page before it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from swirl_lightning.environments.splits import SPLITS, Fractions, Split, assign_splits
from swirl_lightning.environments.web.html_parser import parse_page
from swirl_lightning.environments.web.operation import Operation
from swirl_lightning.environments.web.page import Node, Page, describe, find, prune, render
from swirl_lightning.types import InputError, Transition

TestSplit = Literal["test_task", "test_website", "test_domain"]
OPERATIONS = ("CLICK", "TYPE", "SELECT")
CHUNK = 1 << 24  # characters; a task has some millions
MANY = 0.2  # of the acted elements pruned away: a larger share is worth a warning

_FIELDS: dict[str, type] = {"annotation_id": str, "action_reprs": list, "actions": list}
_ACTION: dict[str, type] = {"cleaned_html": str, "operation": dict, "pos_candidates": list}


def read_mind2web(
    folder: Path, test: TestSplit, budget: int, fractions: Fractions, seed: int
) -> dict[Split, list[Transition]]:
    """The four splits; the training tasks are divided by task.

    x is the ``cleaned_html`` of action t, y that of action t + 1, z what action t does: ``TYPE <input id=q> = shoes``.
    The last action of a task has no y. Of the elements that count as right, z names the annotated one if the page has
    it, else the first that it has. A row whose page has none is left out where actions are needed. Says how often
    pages were pruned, and the acted element with them. The arguments are those of ``WebDataModule``; the folder may be
    ``data`` itself.

    Raises:
        InputError: a folder is missing, a file is cut short or not as published, or a page cannot be brought under the
            budget.
    """
    if test not in get_args(TestSplit):
        raise InputError(f"data.test: found {test!r}, expected one of {', '.join(get_args(TestSplit))}")
    counts: Counter[str] = Counter()
    training = _read_split(folder, "train", budget, counts)
    split_of = assign_splits(training, fractions, seed, "task")
    parts: dict[Split, list[Transition]] = {split: [] for split in SPLITS}
    for task, transitions in training.items():
        split: Split = "validation" if split_of[task] == "test" else split_of[task]
        parts[split] += [replace(t, action=None) for t in transitions] if split == "state_only" else transitions
    parts["test"] = [t for its in _read_split(folder, test, budget, counts).values() for t in its]
    for split in SPLITS:
        if split != "state_only":
            parts[split] = [t for t in parts[split] if t.action is not None]
    _say(folder, counts)
    return parts


def scan_tasks(path: Path) -> Iterator[tuple[int, Any]]:
    """The tasks of a file, each with the character at which it begins; no more than a few are in memory.

    Raises:
        InputError: the file is no list in UTF-8, or it is cut short or broken; the message says where.
    """
    decoder = json.JSONDecoder()
    try:
        with path.open(encoding="utf-8") as file:
            text, place = file.read(CHUNK), 0
            if not text.lstrip().startswith("["):
                raise InputError(f"{path}: found {text[:20]!r} at its begin, expected a JSON list of tasks: [{{...}}]")
            text, place = text.lstrip()[1:], len(text) - len(text.lstrip()) + 1
            while True:
                rest = text.lstrip(", \t\r\n")
                text, place = rest, place + len(text) - len(rest)
                if text.startswith("]"):
                    return
                try:
                    task, end = decoder.raw_decode(text)
                except json.JSONDecodeError as error:
                    # a string that is only begun is reported where it begins
                    cut = error.msg.startswith("Unterminated") or error.pos > len(text) - 16
                    if more := cut and file.read(max(CHUNK, len(text))):
                        text += more
                        continue
                    raise InputError(
                        f"{path}: character {place + error.pos}: found broken JSON ({error.msg}), expected a list of "
                        "tasks up to its ']'; the file is cut short or damaged: download it again"
                    ) from error
                except (ValueError, RecursionError) as error:
                    raise InputError(
                        f"{path}: character {place}: found a task that cannot be read ({error}); download it again"
                    ) from error
                yield place, task
                text, place = text[end:], place + end
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: found a byte that is not UTF-8 ({error.reason}); download the file again") from error


def _read_split(folder: Path, name: str, budget: int, counts: Counter[str]) -> dict[str, list[Transition]]:
    """The transitions of each task, with an action where the acted element is known."""
    tasks: dict[str, list[Transition]] = {}
    for path in _files(folder, name):
        for place, task in scan_tasks(path):
            where = f"{path}: character {place}"
            _check(where, task, _FIELDS, "a task")
            episode = task["annotation_id"]
            if episode in tasks:
                raise InputError(f"{where}: found the task {episode!r} again, expected each once; remove one of them")
            tasks[episode] = _transitions(f"{path}: task {episode!r}", task, budget, counts)
    return tasks


def _files(folder: Path, name: str) -> list[Path]:
    places = [root / name for root in (folder / "data", folder) if (root / name).is_dir()]
    files = [path for place in places[:1] for path in place.glob(f"{name}_*.json")]
    if not files:
        found = f"no {name}_*.json in {places[0]}" if places else f"no folder data/{name}"
        raise InputError(
            f"{folder}: found {found}, expected Mind2Web's files as published: data/train/train_*.json and "
            f"data/{name}/{name}_*.json; download them from the dataset osunlp/Mind2Web on the Hugging Face Hub "
            "(the test splits come as test.zip there), or check the path"
        )
    return sorted(files, key=lambda path: (len(path.name), path.name))


def _transitions(where: str, task: Mapping[str, Any], budget: int, counts: Counter[str]) -> list[Transition]:
    actions = task["actions"]
    if len(actions) != len(task["action_reprs"]):
        raise InputError(
            f"{where}: a task with a gap: found {len(actions)} actions and {len(task['action_reprs'])} action_reprs, "
            "expected as many; download the file again, or leave the task out"
        )
    states, labels = [], []
    for n, action in enumerate(actions):
        here = f"{where}, action {n}"
        _check(here, action, _ACTION, "an action with the page before it")
        if not action["cleaned_html"].strip():
            raise InputError(
                f"{here}: cleaned_html: found an action without a state, expected the page before it as HTML; download "
                "the file again, or leave the task out"
            )
        page = parse_page(action["cleaned_html"])
        shown = prune(page, budget, here)
        states.append(render(shown))
        labels.append(_label(here, action, page, shown, counts))
        counts["pages"] += 1
        counts["pruned"] += len(shown) < len(page)
    return [Transition(task["annotation_id"], n, states[n], states[n + 1], labels[n]) for n in range(len(actions) - 1)]


def _label(where: str, action: Mapping[str, Any], page: Page, shown: Page, counts: Counter[str]) -> str | None:
    """The action as text; None where the page has no element for it."""
    operation = action["operation"]
    _check(f"{where}, operation", operation, {"op": str, "value": str}, "an operation")
    if operation["op"] not in OPERATIONS:
        raise InputError(f"{where}: operation.op: found {operation['op']!r}, expected one of {', '.join(OPERATIONS)}")
    node = _acted(where, action["pos_candidates"], page)
    if node is None:
        counts["unknown"] += 1
        return None
    counts["known"] += 1
    counts["lost"] += not any(other is node for other in shown)
    value = None if operation["op"] == "CLICK" else " ".join(operation["value"].split())
    return str(Operation(operation["op"], describe(shown, node), value))


def _acted(where: str, candidates: list[Any], page: Page) -> Node | None:
    for candidate in candidates:
        _check(f"{where}, pos_candidates", candidate, {"backend_node_id": (str, int)}, "a candidate")
    by_rank = sorted(candidates, key=lambda candidate: not candidate.get("is_original_target", False))
    nodes = (find(page, str(candidate["backend_node_id"])) for candidate in by_rank)
    return next((node for node in nodes if node is not None), None)


def _check(where: str, value: Any, fields: Mapping[str, type | tuple[type, ...]], what: str) -> None:
    if not isinstance(value, dict):
        raise InputError(f"{where}: found {type(value).__name__}, expected {what}: an object with {', '.join(fields)}")
    for name, kind in fields.items():
        if not isinstance(value.get(name), kind):
            found = type(value[name]).__name__ if name in value else "no such field"
            kinds = kind if isinstance(kind, tuple) else (kind,)
            raise InputError(
                f"{where}: {name}: found {found}, expected {' or '.join(kind.__name__ for kind in kinds)} in {what}; "
                "download the file again"
            )


def _say(folder: Path, counts: Counter[str]) -> None:
    lost = counts["lost"] / max(1, counts["known"])
    rank_zero_info(
        f"{folder}: {counts['pruned']} of {counts['pages']} pages were pruned to the budget; the acted element of "
        f"{counts['lost']} of {counts['known']} actions left with that ({lost:.0%}); {counts['unknown']} actions have "
        "no element on their page and are left out as labels"
    )
    if lost > MANY:
        rank_zero_warn(
            f"{folder}: pruning took away the acted element of {lost:.0%} of the actions, so that no model can name "
            "it; raise data.budget"
        )
