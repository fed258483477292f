"""MirrorAPI-Bench as published: rows as transitions, files as splits, and what is said of rows that are wrong."""

import json

import pytest

from swirl_lightning.environments.tool import ToolDataModule
from swirl_lightning.environments.tool.char_bleu import flatten, response_of
from swirl_lightning.environments.tool.mirrorapi import TEST_SPLITS
from swirl_lightning.types import InputError


def row(api="Add", tool_input='{"a": 1}', output='{"error": "", "response": "{\'sum\': 1}"}', **changes):
    doc = {
        "api_name": api, "api_description": "adds", "required_parameters": [{"name": "a", "type": "NUMBER"}],
        "optional_parameters": [], "tool_description": "it's\na tool", "tool_name": "Calc", "tool_category": "Math",
    }  # fmt: skip
    request = {
        "category": "Math", "tool_name": "Calc", "api_name": api, "tool_input": tool_input, "strip": "filter",
    }  # fmt: skip
    instruction = f"API doc:\n{doc}\n\nRequest:\n{request}"
    return {"system": "You are an API server.", "instruction": instruction, "output": output} | changes


@pytest.fixture
def bench(tmp_path):
    """Makes a folder in the official layout and its data module; ``files`` maps names to rows or to text."""

    def make(files=None, **options):
        for name, rows in ({"test_sft/id_high.json": [row(api=f"Api{n}") for n in range(8)]} | (files or {})).items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            if isinstance(rows, bytes):
                path.write_bytes(rows)
            else:
                path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
        return ToolDataModule(tmp_path, **options)

    return make


@pytest.fixture
def one(bench):
    """The transition of one row in the test split."""
    return lambda **changes: bench({"test_sft/id_high.json": [row(**changes)]}).load("test")[0]


@pytest.mark.filterwarnings("ignore:.*found no train_sft.json")
class TestRows:
    """One row, one step."""

    def test_a_row(self, one):
        t = one()
        assert json.loads(t.state)["tool_description"] == "it's\na tool"
        assert t.state.startswith('{\n "api_name": "Add",\n "api_description": "adds",\n')
        assert '\n "required_parameters": [{"name": "a", "type": "NUMBER"}],\n' in t.state
        assert "API server" not in t.state
        assert "Request" not in t.state
        assert t.action == 'Add {"a": 1}'
        assert t.next_state == t.state + '\n{\n "error": "",\n "response": {"sum": 1}\n}'
        assert (t.episode, t.step) == ("id_high-00000", 0)

    @pytest.mark.parametrize(
        ("tool_input", "action"),
        [
            ('{"a":1}', 'Add_it {"a": 1}'),
            ({"a": "é"}, 'Add_it {"a": "é"}'),
            ('{"a": 1}, {"a": 2}', 'Add_it {"a": 1}, {"a": 2}'),
            ("", "Add_it {}"),
            ({}, "Add_it {}"),
            ("7", "Add_it 7"),
        ],
    )
    def test_the_request(self, one, tool_input, action):
        assert one(api="Add it", tool_input=tool_input).action == action

    @pytest.mark.parametrize(
        "response",
        [
            "{'a': [1, None, True, 2.5, 'x'], 'b': \"it's\"}", "[]", "{1: 2}", "(1, 2)", "{'a': nan}", '{"a": 1}',
            "{'a':1}", "plain", "", "12", "{'a': 'cut off",
        ],
    )  # fmt: skip
    def test_the_flattened_output_stays_the_same(self, one, response):
        output = json.dumps({"error": "e", "response": response})
        t = one(output=output)
        assert flatten(response_of(t.state, t.next_state)) == flatten(output) == f"ERROR: e\nRESPONSE: {response}"

    @pytest.mark.parametrize("output", ['{"error": "", "respo', "no JSON"])
    def test_other_outputs_stand_as_they_are(self, one, output):
        assert one(output=output).next_state.endswith("\n" + output)

    @pytest.mark.parametrize("doc", ["{'a': {1, 2}}", "{'a': b'x'}", "{(1, 2): 3}", "{'a': 1j}"])
    def test_documentation_with_literals_that_json_does_not_know_stands_as_it_is(self, one, doc):
        t = one(instruction=f"API doc:\n{doc}\n\nRequest:\n{{'api_name': 'Add', 'tool_input': '{{}}'}}")
        assert (t.state, t.action) == (doc, "Add {}")

    def test_documentation_that_is_no_dict_stands_as_it_is(self, one):
        t = one(instruction="API doc:\nAdds numbers.\n\nRequest:\n{'api_name': 'Add', 'tool_input': '{}'}")
        assert (t.state, t.action) == ("Adds numbers.", "Add {}")

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"instruction": "\nRequest:\n{'api_name': 'a'}"}, "instruction: found an action but no state: .*API doc"),
            ({"instruction": "Hello"}, "instruction: found no state"),
            ({"instruction": "API doc:\n{}\n\nRequest:\n{'api_na"}, "instruction: found no request that can be read"),
            ({"instruction": "API doc:\n{}\n\nRequest:\n{'api_name': 3}"}, "instruction: found no request"),
            ({"instruction": "API doc:\n{}\n\nRequest:\n{'api_name': 'a', 'tool_input': {1}}"}, ".*found no req"),
            ({"instruction": "API doc:\n{}\n\nRequest:\n{'api_name': 'a', 'tool_input': b'y'}"}, ".*found no req"),
            ({"instruction": "API doc:\n{}\n\nRequest:\n{'api_name': 'a', (1, 2): ...}"}, ".*found no req"),
            ({"instruction": 3}, "instruction: found int, expected text"),
            ({"output": {"error": ""}}, "output: found dict, expected text; write it as a string"),
            ({"wobble": 1}, "wobble: found an unknown field, expected system, instruction, output"),
        ],
    )  # fmt: skip
    def test_a_wrong_row_is_named(self, bench, wrong, message):
        with pytest.raises(InputError, match=rf"id_high.json: row 1: {message}"):
            bench({"test_sft/id_high.json": [row(), row() | wrong]}).load("test")

    def test_a_missing_field_and_a_row_that_is_none(self, bench):
        with pytest.raises(InputError, match="row 0: system: missing; found .'instruction', 'output'."):
            bench({"test_sft/id_high.json": [{k: v for k, v in row().items() if k != "system"}]}).load("test")
        with pytest.raises(InputError, match="row 0: found list, expected an object with system"):
            bench({"test_sft/id_high.json": [[]]}).load("test")

    def test_a_row_that_is_cut_off_is_left_out_aloud(self, bench):
        cut = row() | {"instruction": row()["instruction"][:90]}
        data = bench({"test_sft/id_high.json": [row(), cut, row()]})
        with pytest.warns(UserWarning, match=r"json: 1 of 3 rows end before their request.*left out: 1, counted"):
            assert [t.episode for t in data.load("test")] == ["id_high-00000", "id_high-00002"]


def test_training_rows_make_three_splits(bench):
    train = [row(api=f"Api{n % 40}", tool_input={"a": n}) for n in range(120)]
    data = bench({"train_sft.json": train})
    data.setup()
    apis = {split: {t.action.split()[0] for t in getattr(data, split)} for split in ("labelled", "validation")}
    apis["state_only"] = {json.loads(t.state[: t.state.index("\n}") + 2])["api_name"] for t in data.state_only}
    assert {split: len(its) for split, its in apis.items()} == {"labelled": 18, "state_only": 18, "validation": 4}
    assert len(set().union(*apis.values())) == 40
    assert len(data.labelled) == 54
    assert all(t.action is None for t in data.load("state_only"))
    assert [t.episode for t in data.test] == [f"id_high-{n:05d}" for n in range(8)]
    mine = bench({"mine.json": train}, train_file="mine.json").load("labelled")
    assert [t.action for t in mine] == [t.action for t in data.load("labelled")]
    assert bench(seed=1).load("labelled") != data.load("labelled")


def test_test_files_alone(bench):
    data = bench()
    with pytest.warns(UserWarning, match="found no train_sft.json.*put train_sft.json beside test_sft/.*divide_test"):
        data.setup()
    assert (len(data.test), data.labelled, data.state_only, data.validation) == (8, [], [], [])


def test_test_files_divided_for_a_trial(bench):
    data = bench(divide_test=True, fractions=(0.25, 0.25, 0.25, 0.25))
    with pytest.warns(UserWarning, match="the 8 test rows are divided by API .*compare with no one's"):
        data.setup()
    assert [len(its) for its in (data.labelled, data.state_only, data.validation, data.test)] == [2, 2, 2, 2]
    few = bench({"test_sft/id_high.json": [row()] * 9}, divide_test=True)
    with pytest.raises(InputError, match=r"found 1 API\(s\), expected at least 4"):
        few.load("test")


@pytest.mark.filterwarnings("ignore:.*found no train_sft.json")
def test_which_test_files(bench):
    files = {f"test_sft/{split}.json": [row(api=split)] for split in TEST_SPLITS}
    assert [t.action.split()[0] for t in bench(files).load("test")] == list(TEST_SPLITS)
    assert [t.action.split()[0] for t in bench(test_splits=["ood"]).load("test")] == ["ood"]
    with pytest.raises(InputError, match="test_splits: found 'id_top', expected names from id_high, "):
        bench(test_splits=["id_top"]).load("test")


def test_a_test_file_that_is_asked_for_must_be_there(bench):
    with pytest.raises(InputError, match="test_sft/ood.json: no such file; expected MirrorAPI-Bench"):
        bench(test_splits=["id_high", "ood"]).load("test")


@pytest.mark.filterwarnings("ignore:.*found no train_sft.json")
def test_long_rows_are_left_out_aloud(bench):
    rows = [row(), row(output="x" * 2000)]
    data = bench({"test_sft/id_high.json": rows}, max_chars=1000)
    with pytest.warns(UserWarning, match="more than 1000 characters are left out: 1 of 2 in test"):
        assert len(data.load("test")) == 1
    assert len(bench({"test_sft/id_high.json": rows}).load("test")) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps([row()])[:-100], "id_high.json:1: found broken JSON .Unterminated string.* character [0-9]+"),
        ('[\n{"system": ,', "id_high.json:2: found broken JSON .Expecting value, column 12, character 13"),
        ("", "id_high.json:1: found broken JSON"),
        ("[" * 100_000, "id_high.json: found JSON that cannot be read .maximum recursion"),
        ("[" + "9" * 5000 + "]", "id_high.json: found JSON that cannot be read .Exceeds the limit"),
        ("[]", "id_high.json: found no rows, expected a JSON list"),
        ('{"a": 1}', "id_high.json: found dict, expected a JSON list of rows"),
        (b"[\xff]", "id_high.json: found no UTF-8 at byte 1; convert"),
    ],
)
def test_a_broken_file_is_named(bench, content, message):
    with pytest.raises(InputError, match=message):
        bench({"test_sft/id_high.json": content}).load("test")


@pytest.mark.filterwarnings("ignore:.*(found no train_sft.json|end before their request|are divided by API)")
class TestPublished:
    """The published rows, where they are at hand."""

    @pytest.fixture
    def folder(self, request):
        path = request.config.rootpath.parent / "shared" / "data" / "mirrorapi-bench"
        if not path.is_dir():
            pytest.skip(f"no {path}")
        return path

    def test_every_row_keeps_its_output(self, folder):
        data = ToolDataModule(folder)
        transitions = data.load("test")
        outputs = {
            f"{path.stem}-{n:05d}": row["output"].strip()
            for path in (folder / "test_sft").glob("*.json")
            for n, row in enumerate(json.loads(path.read_text()))
        }
        assert len(transitions) > 0.98 * len(outputs)
        for t in transitions:
            assert flatten(response_of(t.state, t.next_state)) == flatten(outputs[t.episode])
            assert t.action

    def test_a_trial_on_them(self, folder):
        data = ToolDataModule(folder, divide_test=True, max_chars=3000)
        data.setup()
        assert min(len(its) for its in (data.labelled, data.state_only, data.validation, data.test)) > 5
