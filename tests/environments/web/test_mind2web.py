"""A small folder in Mind2Web's official layout; the rows are made up here."""

import json

import pytest

from swirl_lightning.environments.web import mind2web
from swirl_lightning.environments.web.mind2web import read_mind2web, scan_tasks
from swirl_lightning.types import InputError

FRACTIONS = (0.4, 0.4, 0.1, 0.1)


def html(typed="", results=()):
    items = "".join(f'<li><a backend_node_id="{30 + n}"><text>{name}</text></a></li>' for n, name in enumerate(results))
    return (
        '<html backend_node_id="1"><body backend_node_id="2"><h1 backend_node_id="3"><text>Tool shed</text></h1>'
        f'<div backend_node_id="4"><input backend_node_id="5" name="q" type="text" input_value="{typed}"/>'
        '<button backend_node_id="6"><span backend_node_id="7"><text backend_node_id="8">Search</text></span></button>'
        f'<select backend_node_id="9" aria_label="Sort"><option>Price</option></select></div><ul>{items}</ul>'
        "<p>Free delivery within three days for every order that is placed before noon</p></body></html>"
    )


def action(number, page, op, key, value="", **more):
    candidate = {"tag": "x", "attributes": "{}", "is_original_target": True, "backend_node_id": str(key)}
    return {
        "action_uid": f"u{number}", "raw_html": "<html></html>", "cleaned_html": page,
        "operation": {"op": op, "original_op": op, "value": value}, "pos_candidates": [candidate], "neg_candidates": [],
    } | more  # fmt: skip


def task(name):
    actions = [
        action(0, html(), "TYPE", 5, "claw  hammer"),
        action(1, html("claw hammer"), "CLICK", 7),
        action(2, html("claw hammer", ("Small", "Large")), "SELECT", 9, "Price"),
        action(3, html("claw hammer", ("Large", "Small")), "CLICK", 31),
    ]
    return {
        "annotation_id": name, "website": "toolshed", "domain": "Shopping", "subdomain": "Hardware",
        "confirmed_task": "Find a small hammer", "action_reprs": [f"{a['action_uid']}" for a in actions],
        "actions": actions,
    }  # fmt: skip


def write(path, tasks):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tasks), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "data/train/train_0.json", [task(f"a{n}") for n in range(6)])
    write(tmp_path / "data/train/train_10.json", [task(f"c{n}") for n in range(2)])
    write(tmp_path / "data/train/train_2.json", [task(f"b{n}") for n in range(2)])
    write(tmp_path / "data/test_task/test_task_0.json", [task("t0")])
    write(tmp_path / "data/test_website/test_website_0.json", [task("w0"), task("w1")])
    return tmp_path


def read(folder, test="test_task", budget=200, seed=0):
    return read_mind2web(folder, test, budget, FRACTIONS, seed)


def change(folder, edit):
    """Edit the first training task."""
    path = folder / "data/train/train_0.json"
    tasks = json.loads(path.read_text())
    edit(tasks[0])
    write(path, tasks)


def test_x_z_and_y(folder):
    first, second, third = read(folder)["test"]
    assert first.state == (
        "<h1> Tool shed\n<input type=text name=q>\n<button> Search\n<select aria-label=Sort>\n  <option> Price\n"
        "<p> Free delivery within three days for every order that is placed before noon"
    )
    assert [t.action for t in (first, second, third)] == [
        "TYPE <input type=text name=q> = claw hammer",
        "CLICK <button> Search",
        "SELECT <select aria-label=Sort> = Price",
    ]
    assert (first.next_state, second.next_state) == (second.state, third.state)
    assert '<input type=text name=q value="claw hammer">' in first.next_state
    assert third.next_state.index("Large") < third.next_state.index("Small")
    assert [(t.episode, t.step) for t in (first, second, third)] == [("t0", 0), ("t0", 1), ("t0", 2)]


def test_training_tasks_are_divided_whole_by_the_seed(folder):
    parts = read(folder)
    tasks = {split: {t.episode for t in transitions} for split, transitions in parts.items()}
    assert sum(map(len, tasks.values())) == len(set().union(*tasks.values())) == 11
    assert [len(tasks[split]) for split in ("labelled", "state_only", "validation", "test")] == [4, 4, 2, 1]
    assert {t.action for t in parts["state_only"]} == {None}
    assert all(t.action for split in ("labelled", "validation", "test") for t in parts[split])
    assert read(folder) == parts
    assert {t.episode for t in read(folder, seed=1)["labelled"]} != tasks["labelled"]


def test_the_test_split_is_chosen(folder):
    assert {t.episode for t in read(folder, "test_website")["test"]} == {"w0", "w1"}
    assert read(folder / "data") == read(folder)


def test_pages_are_pruned_and_what_that_costs_is_said(folder, monkeypatch):
    said, warned = [], []
    monkeypatch.setattr(mind2web, "rank_zero_info", said.append)
    monkeypatch.setattr(mind2web, "rank_zero_warn", warned.append)
    whole = read(folder)["test"]
    assert "0 of 44 pages were pruned to the budget; the acted element of 0 of 44 actions left" in said.pop()
    assert not warned
    pruned = read(folder, budget=24)["test"]
    assert "Free delivery" not in pruned[0].state
    assert [t.action for t in pruned] == [t.action for t in whole]  # named as the whole page shows it
    assert "44 of 44 pages were pruned to the budget; the acted element of 22 of 44 actions left" in said[0]
    assert "pruning took away the acted element of 50% of the actions" in warned[0]


def test_pruning_does_not_read_the_action(folder):
    states = [t.state for t in read(folder, budget=24)["test"]]
    path = folder / "data/test_task/test_task_0.json"
    tasks = json.loads(path.read_text())
    for action in tasks[0]["actions"]:
        action["pos_candidates"][0]["backend_node_id"] = "3"
    write(path, tasks)
    assert [t.state for t in read(folder, budget=24)["test"]] == states


def test_a_row_whose_element_is_unknown_is_left_out_of_the_labels_alone(folder):
    for split in ("train/train_0", "train/train_2", "train/train_10", "test_task/test_task_0"):
        path = folder / f"data/{split}.json"
        tasks = json.loads(path.read_text())
        for one in tasks:
            one["actions"][1]["pos_candidates"] = []
        write(path, tasks)
    parts = read(folder)
    assert [t.step for t in parts["test"]] == [0, 2]
    assert {t.step for t in parts["labelled"]} == {0, 2}
    assert {t.step for t in parts["state_only"]} == {0, 1, 2}


def test_the_annotated_element_comes_first(folder):
    candidates = [{"backend_node_id": "3"}, {"backend_node_id": "6", "is_original_target": True}]
    write(folder / "data/test_task/test_task_0.json", [task("t0")])
    path = folder / "data/test_task/test_task_0.json"
    tasks = json.loads(path.read_text())
    tasks[0]["actions"][1]["pos_candidates"] = candidates
    write(path, tasks)
    assert read(folder)["test"][1].action == "CLICK <button> Search"


@pytest.mark.parametrize("chunk", [1, 7, 100, 10**6])
def test_files_are_read_a_task_at_a_time(folder, monkeypatch, chunk):
    monkeypatch.setattr(mind2web, "CHUNK", chunk)
    path = folder / "data/train/train_0.json"
    path.write_text(json.dumps([task(f"a{n}") for n in range(3)], indent=2))
    tasks = list(scan_tasks(path))
    assert [one for _, one in tasks] == json.loads(path.read_text())
    assert all(path.read_text()[place] == "{" for place, _ in tasks)


@pytest.mark.parametrize("chunk", [64, 10**6])
def test_a_truncated_file_is_named_with_the_place(folder, monkeypatch, chunk):
    monkeypatch.setattr(mind2web, "CHUNK", chunk)
    path = folder / "data/train/train_2.json"
    text = path.read_text()
    path.write_text(text[:-300])
    with pytest.raises(InputError, match=r"train_2.json: character \d+: found broken JSON .* is cut short or damaged"):
        read(folder)
    path.write_text(text[:-1])
    with pytest.raises(InputError, match=rf"character {len(text) - 1}: found broken JSON"):
        read(folder)


def test_no_list_and_no_utf8(folder):
    path = folder / "data/train/train_2.json"
    path.write_text(json.dumps(task("b0")))
    with pytest.raises(InputError, match="expected a JSON list of tasks"):
        read(folder)
    path.write_bytes('[{"annotation_id": "Zürich"}]'.encode("latin-1"))
    with pytest.raises(InputError, match=r"train_2.json: found a byte that is not UTF-8"):
        read(folder)


def first(one):
    return one["actions"][0]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda one: first(one).update(cleaned_html=" "), "task 'a0', action 0: .*found an action without a state"),
        (lambda one: first(one).pop("cleaned_html"), "cleaned_html: found no such field, expected str"),
        (lambda one: one["actions"].pop(1), "a task with a gap: found 3 actions and 4 action_reprs"),
        (lambda one: one.update(actions="none"), "actions: found str, expected list in a task"),
        (lambda one: one["actions"].__setitem__(1, None), "action 1: found NoneType, expected an action"),
        (lambda one: one.update(annotation_id=3), "annotation_id: found int, expected str"),
        (lambda one: one.update(annotation_id="a1"), "found the task 'a1' again"),
        (lambda one: first(one)["operation"].update(op="HOVER"), "operation.op: found 'HOVER', expected one of CLICK"),
        (lambda one: first(one)["operation"].update(value=None), "value: found NoneType, expected str"),
        (lambda one: first(one).update(pos_candidates=[{}]), "backend_node_id: found no such field"),
    ],
)  # fmt: skip
def test_a_row_that_is_not_as_published(folder, edit, message):
    change(folder, edit)
    with pytest.raises(InputError, match=message):
        read(folder)


def test_a_missing_folder_an_unknown_split_and_a_page_over_the_budget(folder, tmp_path):
    with pytest.raises(InputError, match="found no folder data/train, expected Mind2Web's files as published"):
        read(tmp_path / "data/train")
    (folder / "data/test_domain").mkdir()
    with pytest.raises(InputError, match="found no test_domain_\\*.json in .*test_domain"):
        read(folder, "test_domain")
    with pytest.raises(InputError, match="data.test: found 'dev', expected one of test_task, test_website"):
        read(folder, "dev")
    with pytest.raises(InputError, match="task 'a0', action 0: found a page over the budget: .* at most 5"):
        read(folder, budget=5)
