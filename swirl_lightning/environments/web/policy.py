"""Who acts in MiniWoB++ tasks: rules that read what a task asks for and solve it, or chance."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from itertools import pairwise, takewhile
from typing import NamedTuple

from swirl_lightning.environments.web.page import Node, Page


class Move(NamedTuple):
    """An operation on an element of a page, with its argument."""

    operation: str
    node: Node
    argument: str | None = None


Rule = Callable[[str, Page], Move | None]
"""The next move towards what the utterance asks for, from the page alone; None where the rule knows none."""


def click_named(utterance: str, page: Page) -> Move | None:
    """``Click on the "No" button.``, ``Click button ONE.``, ``Click on Tab #2.``; the x of a dialog is its Close."""
    name = _quotes(utterance)[-1:] or re.findall(r"(?:button|on) (\S.*?)\.?$", utterance)
    return _click(_named(page, "Close" if name == ["x"] else "".join(name)))


def click_ordinal(utterance: str, page: Page) -> Move | None:
    """``Focus into the 2nd input textbox.``"""
    return _click(_fields(page)[_ordinals(utterance)[0]])


def click_in_turn(utterance: str, page: Page) -> Move | None:
    """``Click button ONE, then click button TWO.``"""
    first, second = (_named(page, name) for name in re.findall(r"button (\w+)", utterance))
    return _click(second if first is None or first.get("focused") is not None else first)


def fill(utterance: str, page: Page) -> Move | None:
    """``Enter the username "ann" and the password "x" ...``: a text for each field, the last one for the rest."""
    texts = _quotes(utterance)
    for n, field in enumerate(_fields(page)):
        if field.get("value") != (text := texts[min(n, len(texts) - 1)]):
            return Move("TYPE", field, text)
    return _submit(page)


def choose(utterance: str, page: Page) -> Move | None:
    """``Select a, b and click Submit.``, ``Select Peru from the list and click Submit.``"""
    names = re.findall(r"Select (.*?)(?: from the list)? and click", utterance)[0].split(", ")
    for node, after in pairwise(page):
        if node.tag == "option" and node.text == names[0] and node.get("selected") is None:
            return Move("SELECT", next(other for other in page if other.tag == "select"), node.text)
        if node.tag == "label" and node.text in names and after.tag == "input" and after.get("checked") is None:
            return Move("CLICK", after)
    return _submit(page)


def reveal(utterance: str, page: Page) -> Move | None:
    """``Expand the sections below, to find and click on the link "et".``; tabs, trees, Submit below a section."""
    name = (_quotes(utterance) or ["Submit"])[-1]
    targets = [i for i, node in enumerate(page) if node.acts and node.text.lower() == name.lower()]
    if name == "Submit":  # of a section that may be anything: the one that is closed
        targets = [i for i, node in enumerate(page) if node.hidden] or targets
    if not targets:
        return None
    place = next((i for i in targets if not page[i].hidden), targets[0])
    if not page[place].hidden:
        return Move("CLICK", page[place])
    panel = next(i for i in reversed(range(place + 1)) if page[i].get("hidden") is not None)
    while panel and page[panel].hidden and page[panel - 1].hidden:  # the outermost of those that are closed
        panel -= 1
    opens = [node for node in page[:panel] if node.acts and not node.hidden]
    by_link = [node for node in opens if node.get("href") == f"#{page[panel].get('id')}"]
    return _click(next(reversed(by_link or opens), None))


def fill_form(utterance: str, page: Page) -> Move | None:
    """``Check the 2nd radio button and enter the number "12" into the 3rd textbox.``"""
    radio, field = _ordinals(utterance)
    button = [node for node in page if node.get("type") == "radio"][radio]
    box, text = _fields(page)[field], _quotes(utterance)[0]
    if button.get("checked") is None:
        return Move("CLICK", button)
    return Move("TYPE", box, text) if box.get("value") != text else _submit(page)


def mark_email(utterance: str, page: Page) -> Move | None:
    """``Find the email by Ann and click the star icon to mark it as important.``"""
    sender, icon = re.findall(r"email by (\S+) and click the (\w+)", utterance)[0]
    place = next(i for i, node in enumerate(page) if node.text == sender)
    return _click(next((node for node in page[place:] if node.get("class") == icon), None))


RULES: dict[str, Rule] = {
    "choose-list": choose,
    "click-button": click_named,
    "click-button-sequence": click_in_turn,
    "click-checkboxes": choose,
    "click-checkboxes-transfer": choose,
    "click-collapsible": reveal,
    "click-collapsible-2": reveal,
    "click-dialog": click_named,
    "click-dialog-2": click_named,
    "click-link": click_named,
    "click-option": choose,
    "click-tab": click_named,
    "click-tab-2": reveal,
    "click-test-2": click_named,
    "email-inbox-important": mark_email,
    "enter-password": fill,
    "enter-text": fill,
    "enter-text-dynamic": fill,
    "focus-text-2": click_ordinal,
    "form-sequence-2": fill_form,
    "login-user": fill,
    "navigate-tree": reveal,
}


def chance(utterance: str, page: Page, rng: random.Random) -> Move | None:
    """A kind of operation that the page allows, an element that allows it, and a word of the task or another option.

    What is clicked has nothing inside it that could be clicked, as the browser would click that.
    """
    open_ = [node for node in page if node.acts and not node.hidden and node.get("disabled") is None]
    fields = _fields(page)
    others = {select: texts for select in open_ if select.tag == "select" and (texts := _others(page, select))}
    clicks = [
        node for node in open_
        if node.tag not in ("option", "select") and node not in fields and not any(n.acts for n in _inside(page, node))
    ]  # fmt: skip
    kinds = {"CLICK": clicks, "SELECT": list(others), "TYPE": fields}
    kind = rng.choice([name for name, nodes in kinds.items() if nodes] or [""])
    if not kind:
        return None
    node = rng.choice(kinds[kind])
    if kind == "CLICK":
        return Move(kind, node)
    return Move(kind, node, rng.choice(others[node] if kind == "SELECT" else re.findall(r"\w+", utterance)))


def _click(node: Node | None) -> Move | None:
    return None if node is None else Move("CLICK", node)


def _submit(page: Page) -> Move | None:
    return _click(next((node for node in page if node.tag == "button" and not node.hidden), None))


def _named(page: Page, name: str) -> Node | None:
    return next((node for node in page if node.acts and not node.hidden and node.text == name), None)


def _fields(page: Page) -> list[Node]:
    boxes = [node for node in page if node.tag == "textarea" or node.get("type") in ("text", "password")]
    return [node for node in boxes if not node.hidden]


def _others(page: Page, select: Node) -> list[str]:
    """The options of a list that are not selected."""
    options = [node for node in _inside(page, select) if node.tag == "option" and node.get("selected") is None]
    return [node.text for node in options if node.text]


def _inside(page: Page, node: Node) -> list[Node]:
    start = next(i for i, other in enumerate(page) if other is node) + 1
    return list(takewhile(lambda other: other.depth > node.depth, page[start:]))


def _quotes(utterance: str) -> list[str]:
    return re.findall(r'"([^"]*)"', utterance)


def _ordinals(utterance: str) -> list[int]:
    """The places that the utterance names, from 0."""
    return [int(number) - 1 for number in re.findall(r"(\d)(?:st|nd|rd|th)", utterance)]
