import importlib.util
import json
import shutil
from itertools import pairwise

import pytest

from swirl_lightning.codecs import decode_delta, encode_delta
from swirl_lightning.environments.splits import SPLITS
from swirl_lightning.environments.web import WebDataModule, miniwob
from swirl_lightning.environments.web import collect as collect
from swirl_lightning.environments.web.collect import collect_web, play
from swirl_lightning.environments.web.miniwob import MiniWob
from swirl_lightning.environments.web.operation import parse_operation
from swirl_lightning.environments.web.policy import RULES
from swirl_lightning.types import InputError

MISSING = [name for name in ("miniwob", "selenium") if not importlib.util.find_spec(name)] + [
    name for name in ("chromium", "chromedriver") if not shutil.which(name)
]


def test_missing_packages_and_programs_are_named_with_the_cure(monkeypatch, tmp_path):
    monkeypatch.setattr(miniwob, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'swirl-lightning\[web\]'"):
        collect_web(tmp_path / "out")
    monkeypatch.setattr(miniwob, "find_spec", lambda name: importlib.util.find_spec("json"))
    monkeypatch.setattr(miniwob.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"no program chromium .*apt-get install chromium chromium-driver"):
        collect_web(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"episodes": 0}, "episodes: found 0, expected at least 1"),
        ({"tasks": ()}, "tasks: found 0, expected at least 1"),
        ({"policy": "best"}, "policy: found 'best', expected one of rules, random, mixed"),
    ],
)
def test_arguments_out_of_range(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        collect_web(tmp_path, **options)


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
class TestBrowser:
    """What needs Chromium: one browser for all."""

    @pytest.fixture(scope="class")
    def browser(self):
        with MiniWob() as browser:
            yield browser

    @pytest.mark.parametrize("task", RULES)
    def test_the_rules_solve_every_task(self, browser, task):
        transitions = list(play(browser, task, "e", 10, 0.0, 400, 0))
        assert "\nResult: solved\n" in f"{transitions[-1].next_state}\n"
        for before, after in pairwise(transitions):
            assert before.next_state == after.state
            assert "Result:" not in after.state
        for t in transitions:
            assert t.state != t.next_state
            assert t.state.startswith("Task: ")
            assert parse_operation(t.action).name in ("CLICK", "TYPE", "SELECT")
            line = str(parse_operation(t.action).element).split(" (")[0]
            assert line in [line.strip() for line in t.state.split("\n")]
            assert decode_delta(t.state, encode_delta(t.state, t.next_state)) == t.next_state

    def test_what_an_operation_changes(self, browser):
        typed = next(play(browser, "enter-text", "e", 1, 0.0, 400, 0))
        word = parse_operation(typed.action).arguments
        assert encode_delta(typed.state, typed.next_state).split("\n")[-2:] == [
            "-     <input id=tt type=text>", f"+     <input id=tt type=text value={word} focused>",
        ]  # fmt: skip
        view = browser.open("enter-text", "1")
        for text in ("first", "second"):
            field = next(node for node in view.page if node.tag == "input")
            view = browser.act("TYPE", field, text)
        assert "value=second" in view.text

    def test_a_click_on_what_another_element_covers_changes_nothing(self, browser):
        view = browser.open("click-test-2", "1")
        cover = "a = document.getElementById('subbtn'), b = document.getElementById('subbtn2');"
        cover += "b.style.cssText = a.style.cssText + ';width: 99px; height: 60px'"
        browser._driver.execute_script(cover)
        assert browser.act("CLICK", view.page[1], None) == view

    def test_the_seed_decides_the_task(self, browser):
        texts = [browser.open("click-checkboxes", seed).text for seed in ("a", "b", "a")]
        assert texts[0] == texts[2] != texts[1]

    def test_an_unknown_task_and_one_without_a_rule(self, tmp_path):
        with pytest.raises(InputError, match="tasks: found 'fly', expected names out of ascending-numbers"):
            collect_web(tmp_path, tasks=("fly",))
        with pytest.raises(InputError, match="found no rule for 'tic-tac-toe'.*policy random"):
            collect_web(tmp_path, tasks=("tic-tac-toe",))

    def test_a_collection_can_be_remade_and_read(self, tmp_path):
        options = {"tasks": ("choose-list",), "episodes": 4, "fractions": (0.25, 0.25, 0.25, 0.25)}
        for name in ("first", "again"):
            collect_web(tmp_path / name / "made", **options)
        first, again = tmp_path / "first/made", tmp_path / "again/made"
        assert {path.name for path in first.iterdir()} == {path.name for path in again.iterdir()}
        assert all(path.read_bytes() == (again / path.name).read_bytes() for path in first.iterdir())
        record = json.loads((first / "collection.json").read_text())
        assert record["command"].startswith("swirl collect web --out made --tasks")
        assert {"chromium", "miniwob", "selenium"} <= set(record["versions"])
        assert record["episodes"]["all"] == 4
        data = WebDataModule(first)
        data.setup()
        assert len(data.splits) == 4

    def test_a_browser_that_crashes_costs_its_episode(self, tmp_path, monkeypatch, caplog):
        options = {"tasks": ("click-button",), "episodes": 8, "fractions": (0.25,) * 4}
        collect_web(tmp_path / "whole", **options)

        def crash(browser, task, episode, *rest):
            if episode.endswith("0001"):
                browser._driver.execute_cdp_cmd("Browser.crash", {})
            yield from play(browser, task, episode, *rest)

        monkeypatch.setattr(collect, "play", crash)
        collect_web(tmp_path / "crashed", **options)
        assert "click-button-0001: left out, the browser is started anew: " in caplog.text
        assert json.loads((tmp_path / "crashed/collection.json").read_text())["episodes"]["lost"] == 1
        whole, crashed = (
            [t for split in SPLITS for t in WebDataModule(tmp_path / name).load(split)] for name in ("whole", "crashed")
        )
        assert "click-button-0001" in {t.episode for t in whole}
        assert crashed == [t for t in whole if t.episode != "click-button-0001"]
        monkeypatch.setattr(collect, "play", lambda browser, *rest: browser.open("no-such-task", "0"))
        with pytest.raises(InputError, match="all 8 episodes were lost; the log above says why"):
            collect_web(tmp_path / "none", **options)
