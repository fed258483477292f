import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swirl_lightning.environments.rows import read_rows, scan_rows, write_split
from swirl_lightning.types import InputError, Transition

ROW = {"episode": "a", "step": 0, "state": "door closed", "next_state": "door open", "action": "open door"}


def write(path, *rows):
    path.write_bytes(b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows))
    return path


def without(field):
    return {key: value for key, value in ROW.items() if key != field}


def test_what_is_written_is_read(tmp_path, episode):
    rows = [*episode("größe"), *episode("b")]
    record = write_split(tmp_path, "labelled", rows, True)
    assert record["transitions"] == len(rows)
    assert read_rows(tmp_path / "labelled.jsonl.gz", actions=True) == rows


def test_the_same_transitions_are_the_same_bytes(tmp_path, episode):
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
        write_split(folder, "test", episode("a"), True)
    data = (first / "test.jsonl.gz").read_bytes()
    assert data == (second / "test.jsonl.gz").read_bytes()
    assert data[4:8] == bytes(4)  # no time of writing
    assert b"test" not in data[:20]  # no file name


def test_the_state_only_file_has_no_action_column(tmp_path, episode):
    write_split(tmp_path, "state_only", episode("a"), False)
    text = gzip.decompress((tmp_path / "state_only.jsonl.gz").read_bytes()).decode()
    assert all("action" not in json.loads(line) for line in text.splitlines())


def test_parquet_reads_like_jsonl(tmp_path, episode):
    rows = episode("a")
    columns = {name: [getattr(t, name) for t in rows] for name in ROW}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert read_rows(tmp_path / "a.parquet", actions=True) == rows


def test_actions_are_left_out_with_one_warning(tmp_path):
    path = write(tmp_path / "a.jsonl", ROW, ROW | {"step": 1})
    with pytest.warns(UserWarning, match=r"a\.jsonl: the state-only half has 2 actions; they are left out") as caught:
        rows = read_rows(path, actions=False)
    assert len(caught) == 1
    assert [t.action for t in rows] == [None, None]


@pytest.mark.parametrize("row", [without("action"), ROW | {"action": None}])
def test_a_missing_action_is_named_by_line(tmp_path, row):
    path = write(tmp_path / "a.jsonl", ROW, row | {"step": 1})
    with pytest.raises(InputError, match=r"a\.jsonl:2: action: found none, expected text"):
        read_rows(path, actions=True)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"{oops", r"a\.jsonl:2: found no valid JSON"),
        (b"[1]", r"a\.jsonl:2: found \[1\] \(list\), expected a JSON object"),
        (b"[" * 100_000, r"a\.jsonl:2: found no valid JSON"),
        (b'{"episode": "a", "episode": "b"}', r"a\.jsonl:2: found no valid JSON \(a key stands twice"),
        (b'{"episode": "\xff"}', r"a\.jsonl:2: found the byte 0xff in column 14, expected UTF-8"),
        (without("next_state"), r"a\.jsonl:2: next_state: missing"),
        (ROW | {"state": 3}, r"a\.jsonl:2: state: found 3 \(int\), expected text"),
        (ROW | {"state": None}, r"a\.jsonl:2: state: found None"),
        (ROW | {"state": "\ud800"}, r"a\.jsonl:2: state: found half a surrogate pair"),
        (ROW | {"episode": " "}, r"a\.jsonl:2: episode: found an empty text"),
        (ROW | {"action": ""}, r"a\.jsonl:2: action: found an empty text"),
        (ROW | {"action": 7}, r"a\.jsonl:2: action: found 7 \(int\), expected text"),
        (ROW | {"step": True}, r"a\.jsonl:2: step: found True \(bool\), expected a whole number"),
        (ROW | {"step": 1.0}, r"a\.jsonl:2: step: found 1.0 \(float\)"),
        (ROW | {"step": -1}, r"a\.jsonl:2: step: found -1"),
        (ROW, r"a\.jsonl:2: step: found step 0 of episode 'a' again \(first in line 1\)"),
    ],
)
def test_a_malformed_row_is_named_by_line_and_field(tmp_path, row, message):
    path = write(tmp_path / "a.jsonl", ROW, row)
    with pytest.raises(InputError, match=message):
        read_rows(path, actions=True)


def test_broken_files_are_refused(tmp_path):
    packed = gzip.compress(b"".join(json.dumps(ROW | {"step": i}).encode() + b"\n" for i in range(99)))
    table = {name: [value] for name, value in ROW.items()}
    pq.write_table(pa.table(table | {"step": [0.5]}), tmp_path / "step.parquet")
    pq.write_table(pa.table(table | {"reward": [0.5]}), tmp_path / "extra.parquet")
    files = {
        "cut.jsonl.gz": (packed[:-20], r"cut\.jsonl\.gz: the gzip data ends or breaks after line \d+"),
        "flat.jsonl.gz": (b"{}\n", r"flat\.jsonl\.gz: the gzip data ends or breaks after line 0"),
        "bad.jsonl.gz": (packed[:40] + b"????" + packed[44:], r"bad\.jsonl\.gz: the gzip data ends or breaks"),
        "empty.jsonl": (b"", r"empty\.jsonl: found no rows"),
        "a.csv": (b"a,b\n", r"a\.csv: found the name 'a\.csv', expected one ending in \.jsonl"),
        "text.parquet": (b"text", r"text\.parquet: found no readable Parquet"),
        "step.parquet": (None, r"step\.parquet:1: step: found 0\.5 \(float\)"),
        "none.jsonl": (None, r"none\.jsonl: no such file"),
    }
    for name, (data, message) in files.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=message):
            read_rows(tmp_path / name, actions=True)


def test_what_real_logs_have_is_read(tmp_path, caplog):
    """A byte order mark, blank lines, numbered episodes, quoted steps and fields of others."""
    rows = [
        {"episode": 7, "step": "0", "state": "a", "next_state": "b", "url": "x"},
        {"episode": "e", "step": 1, "state": "b", "next_state": "c", "reward": 1.0, "url": None},
    ]
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\n\n  \n".join(map(json.dumps, rows)).encode() + b"\n\n")
    with caplog.at_level("INFO", "swirl_lightning"):
        found = list(scan_rows(path))
    assert found == [(1, Transition("7", 0, "a", "b")), (4, Transition("e", 1, "b", "c"))]
    assert "other fields are left out: url (2 rows), reward (1 rows)" in caplog.text


@pytest.mark.parametrize("step", ["-1", "1.0", "", "one", "9" * 5000, None])
def test_a_step_is_a_number(tmp_path, step):
    with pytest.raises(InputError, match=r"a\.jsonl:1: step: found .*expected a whole number"):
        list(scan_rows(write(tmp_path / "a.jsonl", ROW | {"step": step})))


@pytest.mark.parametrize("episode", [True, 1.5, None, [1]])
def test_an_episode_is_a_name_or_a_number(tmp_path, episode):
    with pytest.raises(InputError, match=r"a\.jsonl:1: episode: found "):
        list(scan_rows(write(tmp_path / "a.jsonl", ROW | {"episode": episode})))
