"""Rows of a table do what lists of transitions do, and a large log trains as a small one."""

import gzip
import json
import logging
import warnings
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swirl_lightning.codecs import cache
from swirl_lightning.environments import rows as rows_module
from swirl_lightning.environments import table
from swirl_lightning.environments.log import LogDataModule
from swirl_lightning.environments.splits import SPLITS
from swirl_lightning.environments.table import Rows, hash_of, join, named, pick, values, without_actions
from swirl_lightning.types import InputError, Transition

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TRANSITION = st.builds(
    Transition, TEXT, st.integers(0, 2**63 - 1), TEXT, TEXT, st.none() | TEXT, st.sampled_from(["", "web", "tool"])
)
TRANSITIONS = st.lists(TRANSITION, min_size=1, max_size=12)
FIELDS = ("episode", "step", "action", "environment", "key", "changes")


def rows_of(transitions):
    return Rows(pa.Table.from_batches([table._batch_of(transitions)]))


@pytest.fixture
def large(monkeypatch, tmp_path):
    """Every file counts as large, and blocks are small."""
    monkeypatch.setattr(table, "LARGE", 0)
    monkeypatch.setattr(cache, "BLOCK", 50)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "kept"))


@given(one=TRANSITIONS, two=TRANSITIONS, data=st.data())
@settings(deadline=None)
def test_rows_are_as_lists(one, two, data):
    places = data.draw(st.lists(st.integers(0, len(one) - 1), min_size=1))
    cases = [
        (lambda a, b: a),
        (lambda a, b: a[1::2]),
        (lambda a, b: pick(a, places)),
        (lambda a, b: named(a, "web")),
        (lambda a, b: without_actions(a)),
        (lambda a, b: join(a, b)),
        (lambda a, b: join(named(pick(a, places), "x"), without_actions(b), a)),
        (lambda a, b: without_actions(join(pick(a, places), pick(join(b, a), places)))),
    ]
    for case in cases:
        plain = case(one, two)
        for rows in (case(rows_of(one), rows_of(two)), case(rows_of(one), two)):
            assert isinstance(rows, Rows)
            assert list(rows) == plain
            assert len(rows) == len(plain)
            assert [values(rows, field) for field in FIELDS] == [values(plain, field) for field in FIELDS]
            assert hash_of(rows) == hash_of(plain)


@given(one=TRANSITION, other=TRANSITION)
def test_the_hash_tells_rows_apart(one, other):
    assert (hash_of([one]) == hash_of([other])) == (one == other)
    assert (hash_of([one, other]) == hash_of([other, one])) == (one == other)


def write(path, transitions):
    fields = ("episode", "step", "state", "next_state", "action")
    path.write_text("".join(json.dumps({name: getattr(t, name) for name in fields}) + "\n" for t in transitions))
    return path


def splits(path, **options):
    data = LogDataModule(path, **options)
    data.setup()
    return data, {split: getattr(data, split) for split in SPLITS}


@pytest.fixture
def rows(episode):
    return [t for i in range(30) for t in episode(f"e{i}")]


OPTIONS = [{}, {"seed": 3, "eval_limit": 4, "num_labels": 7}, {"num_label_episodes": 3, "validation_limit": 2}]


@pytest.mark.filterwarnings("ignore:.*the state-only half")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", ["all labels", "few labels", "a folder", "labelled and state_only"])
def test_a_large_log_has_the_splits_of_a_small_one(tmp_path, rows, kind, options, monkeypatch):
    few = [t if n % 4 == 1 else replace(t, action=None) for n, t in enumerate(rows)]
    path = tmp_path / "log.jsonl"
    if kind == "all labels":
        write(path, rows)
    elif kind == "few labels":
        write(path, few)
    else:
        path = tmp_path / "log"
        path.mkdir()
        if kind == "a folder":
            for n, split in enumerate(SPLITS):
                write(path / f"{split}.jsonl", rows[25 * n : 25 * n + 25])
        else:
            write(path / "labelled.jsonl", [t for t in few if t.action])
            write(path / "state_only.jsonl", [t for t in few if not t.action])
    small, its = splits(path, **options)
    monkeypatch.setattr(table, "LARGE", 0)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "kept"))
    for _ in ("first start", "second start"):
        large, found = splits(path, **options)
        assert all(isinstance(part, Rows) for part in found.values())
        assert {split: list(part) for split, part in found.items()} == its
        assert {split: hash_of(part) for split, part in found.items()} == {k: hash_of(v) for k, v in its.items()}
        assert large.splits == small.splits
        assert list(large.corpus()) == list(small.corpus())
        # not even the column behind the rows has one
        assert found["state_only"].table["action"].null_count == len(found["state_only"].table)


@pytest.mark.usefixtures("large")
def test_a_large_file_is_read_once(tmp_path, rows, monkeypatch):
    path = write(tmp_path / "log.jsonl", rows)
    first = table.read_file(path, lambda notices: iter(rows))
    assert list(table.read_file(path, lambda notices: pytest.fail("read again"))) == list(first) == rows
    other = tmp_path / "elsewhere/other.jsonl"
    other.parent.mkdir()
    path.rename(other)  # what counts is what it holds
    assert list(table.read_file(other, lambda notices: pytest.fail("read again"))) == rows
    write(path, rows[:-1])
    assert list(table.read_file(path, lambda notices: iter(rows[:-1]))) == rows[:-1]


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_what_is_said_of_a_file_is_said_at_every_start(suffix, tmp_path, rows, caplog):
    """Also where its rows come from the cache, and where nothing but that line is lost there."""
    path = tmp_path / f"state_only{suffix}"
    content = [{name: getattr(t, name) for name in (*rows_module.FIELDS, "action")} | {"url": "x"} for t in rows]
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(content), path)
    else:
        opened = gzip.open if suffix.endswith("gz") else open
        with opened(path, "wb") as file:
            file.writelines(json.dumps(row).encode() + b"\n" for row in content)
    said = f"{path}: other fields are left out: url ({len(rows)} rows)"
    for start in ("first", "second", "third"):
        caplog.clear()
        with caplog.at_level(logging.INFO), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            found = rows_module.read_rows(path, actions=False)
        assert isinstance(found, Rows)
        assert caplog.messages.count(said) == 1
        assert any("left out and never used" in str(warning.message) for warning in warned)
        assert ("reading it, once for all starts" in caplog.text) == (start == "first")
        if start == "second":
            for kept in (tmp_path / "kept").rglob("notices-*"):
                kept.unlink()


@pytest.mark.usefixtures("large")
def test_a_file_of_which_nothing_is_to_be_said(tmp_path, rows, caplog):
    path = write(tmp_path / "log.jsonl", rows)
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            rows_module.read_rows(path, actions=None)
        assert "other fields" not in caplog.text


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 2**63}, r"log\.jsonl:4: step: found 9223372036854775808 \(int\), expected a whole number"),
        ({"step": 1}, r"log\.jsonl:4: step: found step 1 of episode 'e0' again \(first in line 2\)"),
        ({"state": 7}, r"log\.jsonl:4: state: found 7 \(int\), expected text"),
    ],
)
def test_a_wrong_row_is_named_however_large_the_file(request, tmp_path, rows, size, change, message):
    if size == "large":
        request.getfixturevalue("large")
    rows[3] = replace(rows[3], **change)
    with pytest.raises(InputError, match=message):
        LogDataModule(write(tmp_path / "log.jsonl", rows)).setup()
    rows[3] = replace(rows[3], step=3, state="x")
    LogDataModule(write(tmp_path / "log.jsonl", rows)).setup()


@pytest.mark.usefixtures("large")
def test_a_missing_action_in_a_large_file_is_named_with_its_line(tmp_path, rows):
    for n, split in enumerate(SPLITS):
        its = rows[25 * n : 25 * n + 25]
        if split == "validation":
            its[4] = replace(its[4], action=None)
        write(tmp_path / f"{split}.jsonl", its)
    with pytest.raises(InputError, match=r"validation\.jsonl:5: action: found none"):
        LogDataModule(tmp_path).setup()
