"""A web page as text, one element a line, and how it is brought under a budget.

    <h1> Shoes
    <form role=search>
      <input id=q type=text placeholder="Search the shop" value=boots>
      <button> Search
    <ul>
      <li>
        <a href=/red> Red boots

A line is the tag, the attributes that matter and the element's own text; ``html_parser`` says which element has one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from swirl_lightning.types import InputError

NEAR = 3  # lines within which a text is near an element that can be acted on: its label, most often


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


NATIVE = words("a button input option select summary textarea")
ROLES = words(
    "button checkbox combobox link menuitem menuitemcheckbox menuitemradio option radio searchbox slider spinbutton "
    "switch tab textbox treeitem"
)

_WORD = re.compile(r"[A-Za-z]{1,8}|\S")
_BARE = re.compile(r"[^\s\"'<>=]+")  # an attribute's value that needs no quotes


@dataclass(frozen=True, slots=True)
class Node:
    """An element that has a line.

    Args:
        depth: in steps of indentation.
        tag: in lower case.
        attrs: name and value of what the line shows of its attributes, in order; a flag's value is empty.
        text: its own text, runs of white space as one space.
        keys: the names by which the page's source knows it and what it took in, its own first.
        hidden: whether it, or an element around it, is not displayed.
    """

    depth: int
    tag: str
    attrs: tuple[tuple[str, str], ...] = ()
    text: str = ""
    keys: tuple[str, ...] = ()
    hidden: bool = False

    def get(self, name: str) -> str | None:
        """The value of an attribute that the line shows; a flag's is empty."""
        return dict(self.attrs).get(name)

    @property
    def acts(self) -> bool:
        """Whether a user could act on it."""
        return self.tag in NATIVE or self.get("role") in ROLES or self.get("clickable") is not None

    @property
    def line(self) -> str:
        """What the page shows of it, without the indentation."""
        words = [self.tag, *(f"{name}={_quoted(value)}" if value else name for name, value in self.attrs)]
        return f"<{' '.join(words)}>{self.text and ' ' + self.text}"


Page = Sequence[Node]
"""The elements in the order of the document; those inside an element follow it and are deeper."""


def render(page: Page) -> str:
    """The page as text, one element a line."""
    return "\n".join("  " * node.depth + node.line for node in page)


def count_tokens(text: str) -> int:
    """The size of a text by a rule that no tokenizer changes.

    One for each begun eight Latin letters of a word and one for each other character that is no white space. Of such a
    page, indentation included, SmolLM2's tokenizer makes 1.1 to 1.5 times as many.
    """
    return sum(1 for _ in _WORD.finditer(text))


def describe(page: Page, node: Node) -> str:
    """How an action names an element: by its line, and by its place among equal lines, where there are any."""
    equal = [other for other in page if other.line == node.line]
    place = next((n for n, other in enumerate(equal, start=1) if other is node), 0)
    return f"{node.line} ({place} of {len(equal)})" if place and len(equal) > 1 else node.line


def find(page: Page, key: str) -> Node | None:
    """The element of that key, or the one that took it in."""
    return next((node for node in page if key in node.keys), None)


def prune(page: Page, budget: int, where: str = "a page") -> Page:
    """Leave out whole elements until the page is within the budget. Nothing but the page decides.

    Five groups leave, one after the other, each from the end of the page, and none for longer than is needed: what is
    hidden; text more than 3 lines from the next element that can be acted on; other text; the options of lists; other
    elements that can be acted on. An element stays while one inside it does, and goes with the last of them where it
    shows nothing of its own. The first that can be acted on always stays; in a page without any, the first of all.

    Args:
        page: a whole page.
        budget: most tokens, as ``count_tokens`` counts them, of the lines without their indentation.
        where: which page this is, for the message.

    Raises:
        InputError: what must stay is over the budget.
    """
    sizes = [count_tokens(node.line) for node in page]
    total = sum(sizes)
    ranks, parents = _ranks(page), _parents(page)
    inside = Counter(parents)
    kept = [True] * len(page)
    anchor = next((i for i, node in enumerate(page) if node.acts and not node.hidden), 0)
    for rank in range(5):
        for i in reversed(range(len(page))):
            if total <= budget:
                return [node for node, stays in zip(page, kept, strict=True) if stays]
            leaves = ranks[i] <= rank and i != anchor
            while leaves and kept[i] and not inside[i]:
                kept[i] = False
                total -= sizes[i]
                i = parents[i]
                inside[i] -= 1
                leaves = i >= 0 and not page[i].attrs and not page[i].text and not page[i].acts
    if total <= budget:
        return [node for node, stays in zip(page, kept, strict=True) if stays]
    raise InputError(
        f"{where}: found a page over the budget: {sum(sizes)} tokens (words and marks) in {len(page)} elements, of "
        f"which {total} must stay, expected at most {budget}; raise the budget, or leave the page out"
    )


def _ranks(page: Page) -> list[int]:
    """The group in which each element leaves."""
    acting = [i for i, node in enumerate(page) if node.acts and not node.hidden]
    near = {i + step for i in acting for step in range(-NEAR, NEAR + 1)}
    ranks = []
    for i, node in enumerate(page):
        if node.hidden:
            ranks.append(0)
        elif not node.acts:
            ranks.append(2 if i in near else 1)
        else:
            ranks.append(3 if node.tag == "option" else 4)
    return ranks


def _parents(page: Page) -> list[int]:
    """The place of the element around each; -1 for none."""
    parents: list[int] = []
    around: list[int] = []
    for i, node in enumerate(page):
        while around and page[around[-1]].depth >= node.depth:
            around.pop()
        parents.append(around[-1] if around else -1)
        around.append(i)
    return parents


def _quoted(value: str) -> str:
    return value if _BARE.fullmatch(value) else '"' + value.replace('"', "'") + '"'
