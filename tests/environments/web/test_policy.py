"""Who acts in MiniWoB++: the rules that read an utterance, and chance."""

import random
from collections import Counter

import pytest

from swirl_lightning.environments.web.html_parser import parse_page
from swirl_lightning.environments.web.policy import RULES, chance

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
