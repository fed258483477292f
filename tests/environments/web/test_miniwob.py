import importlib.util
import json
import random
import shutil
from collections import Counter
from itertools import pairwise

import pytest

from swirl_lightning.codecs import decode_delta, encode_delta
from swirl_lightning.environments.splits import SPLITS
from swirl_lightning.environments.web import WebDataModule, miniwob
from swirl_lightning.environments.web import collect as miniwob_collect
from swirl_lightning.environments.web.collect import collect_web, play
from swirl_lightning.environments.web.miniwob import MiniWob
from swirl_lightning.environments.web.miniwob_rules import RULES, chance
from swirl_lightning.environments.web.operation import parse_operation
from swirl_lightning.environments.web.pages_html import parse_page
from swirl_lightning.types import InputError

MISSING = [name for name in ("miniwob", "selenium") if not importlib.util.find_spec(name)] + [
    name for name in ("chromium", "chromedriver") if not shutil.which(name)
]
FORM = """<label>Name</label><input id=a type=text><label>Word</label><input id=b type=password>
<select id=s><option selected>One<option>Two</select><div clickable=""><button>No</button><button>Go</button></div>
<button disabled>Off</button><div hidden><button>Gone</button></div>"""


def move(task, utterance, html):
    found = RULES[task](utterance, parse_page(html))
    return None if found is None else (found.operation, found.node.line, found.argument)


@pytest.mark.parametrize(
    ("task", "utterance", "html", "expected"),
    [
        ("click-button", 'Click on the "Go" button.', FORM, ("CLICK", "<button> Go", None)),
        ("click-button", 'Click on the "Gone" button.', FORM, None),
        ("click-test-2", "Click button ONE.", "<button>TWO</button><button>ONE", ("CLICK", "<button> ONE", None)),
        ("click-tab", "Click on Tab #2.", "<a>Tab #1</a><a>Tab #2</a>", ("CLICK", "<a> Tab #2", None)),
        ("click-dialog", 'Close the box by clicking the "x".', "<button>Close", ("CLICK", "<button> Close", None)),
        ("enter-text", 'Enter "ann" into the text field', "<input type=text>", ("TYPE", "<input type=text>", "ann")),
        (
            "login-user", 'Enter the username "ann" and the password "xY" and press login.',
            FORM.replace("id=a", "id=a value=ann"), ("TYPE", "<input id=b type=password>", "xY"),
        ),
        (
            "enter-password", 'Enter the password "x" into both text fields',
            "<input type=password value=x><input type=password value=x><button>Go", ("CLICK", "<button> Go", None),
        ),
        ("choose-list", "Select Two from the list and click Submit.", FORM, ("SELECT", "<select id=s>", "Two")),
        (
            "click-checkboxes", "Select a1, b2 and click Submit.",
            "<label><input id=x type=checkbox checked>a1</label><label><input id=y type=checkbox>b2</label>",
            ("CLICK", "<input id=y type=checkbox>", None),
        ),
        (
            "click-tab-2", 'Switch between the tabs to find and click on the link "et".',
            '<a href="#t1">1</a><a href="#t2">2</a><a href="#t3">3</a>'
            '<div id=t1>x</div><div id=t2 hidden><p>y <span clickable>et</span></p></div><div id=t3 hidden>z</div>',
            ("CLICK", "<a href=#t2> 2", None),
        ),
        (
            "click-collapsible", "Expand the section below and click submit.",
            "<h3 role=tab>Part</h3><div hidden>x</div><button>Submit", ("CLICK", "<h3 role=tab> Part", None),
        ),
        (
            "form-sequence-2", 'Check the 2nd radio button and enter the number "7" into the 1st textbox.',
            "<input type=radio value=1><input type=radio value=2 checked><input type=text>",
            ("TYPE", "<input type=text>", "7"),
        ),
        (
            "click-button-sequence", "Click button ONE, then click button TWO.",
            "<button focused>ONE</button><button>TWO</button>", ("CLICK", "<button> TWO", None),
        ),
        (
            "email-inbox-important", "Find the email by Bo and click the star icon to mark it as important.",
            "<p>Al</p><span class=star clickable></span><p>Bo</p><span class=bin clickable></span>"
            "<span class=star title=2 clickable></span>", None,
        ),
    ],
)  # fmt: skip
def test_rules_read_the_utterance(task, utterance, html, expected):
    assert move(task, utterance, html) == expected


def test_chance_acts_on_what_is_open_and_has_nothing_to_click_inside():
    page, rng = parse_page(FORM), random.Random(0)
    moves = [chance("Enter ann", page, rng) for _ in range(200)]
    seen = Counter((move.operation, move.node.line, move.argument) for move in moves)
    fields = ("<input id=a type=text>", "<input id=b type=password>")
    assert set(seen) == {
        ("CLICK", "<button> No", None), ("CLICK", "<button> Go", None), ("SELECT", "<select id=s>", "Two"),
        *(("TYPE", line, word) for line in fields for word in ("Enter", "ann")),
    }  # fmt: skip
    assert chance("x", parse_page("<p>nothing"), rng) is None


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

        monkeypatch.setattr(miniwob_collect, "play", crash)
        collect_web(tmp_path / "crashed", **options)
        assert "click-button-0001: left out, the browser is started anew: " in caplog.text
        assert json.loads((tmp_path / "crashed/collection.json").read_text())["episodes"]["lost"] == 1
        whole, crashed = (
            [t for split in SPLITS for t in WebDataModule(tmp_path / name).load(split)] for name in ("whole", "crashed")
        )
        assert "click-button-0001" in {t.episode for t in whole}
        assert crashed == [t for t in whole if t.episode != "click-button-0001"]
        monkeypatch.setattr(miniwob_collect, "play", lambda browser, *rest: browser.open("no-such-task", "0"))
        with pytest.raises(InputError, match="all 8 episodes were lost; the log above says why"):
            collect_web(tmp_path / "none", **options)
