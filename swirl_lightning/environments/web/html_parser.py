"""Reads HTML, broken or not, into the elements that a page shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html.parser import HTMLParser

from swirl_lightning.environments.web.page import NATIVE, ROLES, Node, Page, words

MAX_DEPTH = 200  # of elements inside each other; deeper ones become siblings, as they do in browsers
LONG_HREF, LONG_CLASS = 32, 32

ATTRS = ("id", "type", "name", "role", "aria-label", "placeholder", "title", "alt", "value", "href")
FLAGS = ("checked", "selected", "expanded", "disabled", "focused", "clickable", "hidden")

SKIPPED = words("base canvas embed head iframe link meta noscript object script style svg template")
VOID = words("area base br col embed hr img input link meta param source track wbr")
FORMATTING = words("abbr b bdi code em font i mark s small strong sub sup time u")
GENERIC = FORMATTING | words(
    "area article aside body br center col colgroup div fieldset footer header hr html img main map picture section "
    "source span tbody tfoot thead wbr"
)
ABSORBING = NATIVE | words("caption dd dt figcaption h1 h2 h3 h4 h5 h6 label legend li p td th")
# an opening tag ends these where they are the innermost open element
CLOSES = {
    "dd": {"dd", "dt"}, "dt": {"dd", "dt"}, "li": {"li"}, "optgroup": {"option", "optgroup"}, "option": {"option"},
    "p": {"p"}, "td": {"td", "th"}, "th": {"td", "th"}, "tr": {"td", "th", "tr"},
}  # fmt: skip
# names that mean the same; the first of a line counts
ALIASES = {
    "checked": ("input-checked", "checked", "aria-checked"),
    "selected": ("option-selected", "selected", "aria-selected"),
    "expanded": ("expanded", "open", "aria-expanded"),
    "disabled": ("disabled", "aria-disabled"),
    "clickable": ("clickable", "is-clickable"),
    "role": ("role", "aria-role"),
    "value": ("input-value", "text-value", "value"),
}
KEYS = ("data-key", "backend-node-id")
_KNOWN = {*ATTRS, *FLAGS, "style"}.union(*ALIASES.values())

_NAMING = words("alt aria-label name placeholder title value")
_HIDING = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_HOST = re.compile(r"^[a-z][a-z0-9+.-]*:(//[^/?#]*)?|^//[^/?#]*", re.IGNORECASE)


class _Element:
    __slots__ = ("attrs", "children", "tag")

    def __init__(self, tag: str, attrs: dict[str, str]) -> None:
        self.tag = tag
        self.attrs = attrs
        self.children: list[_Element | str] = []

    @property
    def key(self) -> list[str]:
        return [self.attrs[name] for name in KEYS if name in self.attrs]

    def all_keys(self) -> list[str]:
        inside = (child for child in self.children if isinstance(child, _Element))
        return self.key + [key for child in inside for key in child.all_keys()]


class _Builder(HTMLParser):
    """Elements as a tree; forgives what is not closed and what was never opened."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [_Element("html", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        while len(self.open) > 1 and self.open[-1].tag in CLOSES.get(tag, ()):
            self.open.pop()
        del self.open[MAX_DEPTH:]
        element = _Element(tag, {name.replace("_", "-"): value or "" for name, value in reversed(attrs)})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        place = next((i for i in reversed(range(1, len(self.open))) if self.open[i].tag == tag), None)
        if place is not None:
            del self.open[place:]

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        """``<![...`` is a comment, as it is in browsers; Python's parser refuses words that it does not know there."""
        return self.parse_bogus_comment(i, False)

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


@dataclass(slots=True)
class _Line:
    """A line with the lines inside it."""

    node: Node
    inside: list[_Line]

    @property
    def only_text(self) -> bool:
        return self.node.tag in GENERIC and not self.node.attrs and not self.inside


def parse_page(html: str) -> Page:
    """The elements of a page that have a line.

    Elements that only arrange others (``GENERIC``) have one where they have text or attributes of their own; else
    what is inside them moves up. Links, buttons, headings, cells and the like (``ABSORBING``) take in the text of what
    is inside, where that is nothing but text; so does every element with bold, italic and the like. A generic element
    with attributes has its own text on a line inside it. Scripts, styles and drawings have no line, nor has what is
    empty.

    Shown are ``id`` (of at most 24 characters and 3 digits: others are generated), ``type``, ``name``, ``role``,
    ``aria-label``, ``placeholder``, ``title``, ``alt``, ``value``, ``href`` (the path alone, of which the last 32
    characters) and the flags checked, selected, expanded, disabled, focused, clickable and hidden; also by the names
    that Mind2Web gives them, such as ``input_checked``. What can be acted on and shows none of it shows its ``class``.

    Args:
        html: a page, or a part of one. ``data-key`` or ``backend_node_id`` names an element for ``find``.
    """
    builder = _Builder()
    builder.feed(html)
    builder.close()
    lines, _ = _lines(builder.open[0], False)
    return list(_flat(lines, 0))


def _flat(lines: list[_Line], depth: int) -> Iterator[Node]:
    for line in lines:
        yield replace(line.node, depth=depth)
        yield from _flat(line.inside, depth + 1)


def _lines(element: _Element, hidden: bool) -> tuple[list[_Line], list[str]]:
    """The lines of an element, and the keys in it that no line has: the line around takes them."""
    attrs = _attrs(element, hidden)
    hidden = hidden or "hidden" in attrs
    keys, parts = element.key, list[str | _Line]()
    for child in element.children:
        if isinstance(child, str):
            parts.append(child)
        elif child.tag == "text":  # Mind2Web's texts are elements
            parts += [piece for piece in child.children if isinstance(piece, str)]
            keys += child.key
        elif child.tag in SKIPPED:
            keys += child.all_keys()
        else:
            lines, orphans = _lines(child, hidden)
            keys += orphans
            if child.tag in FORMATTING and all(line.only_text for line in lines):
                parts += [line.node.text for line in lines]
                keys += [key for line in lines for key in line.node.keys]
            else:
                parts += lines
    inside = [part for part in parts if isinstance(part, _Line)]
    if element.tag in ABSORBING and all(line.only_text for line in inside):
        keys += [key for line in inside for key in line.node.keys]
        parts, inside = [part.node.text if isinstance(part, _Line) else part for part in parts], []
    text = " ".join(" ".join(part for part in parts if isinstance(part, str)).split())
    shown = tuple((name, value) for name, value in attrs.items() if value != text or not value)
    node = Node(0, element.tag, shown, text, tuple(keys), hidden)
    if node.acts and not text and not inside and not _NAMING & attrs.keys():
        node = replace(node, attrs=(*_class_of(element), *shown))
    if text and shown and not node.acts and element.tag in GENERIC:  # a change of the attributes leaves the text alone
        inside.insert(0, _Line(Node(0, "text", text=text, hidden=hidden), []))
        node = replace(node, text="")
    if inside and not text and not attrs and element.tag in GENERIC:
        first = inside[0]
        first.node = replace(first.node, keys=(*first.node.keys, *keys))
        return inside, []
    if inside or text or node.acts or _NAMING & attrs.keys():  # others show nothing, a href or an id at most
        return [_Line(node, inside)], []
    return [], keys


def _attrs(element: _Element, hidden: bool) -> dict[str, str]:
    """What the line shows of the attributes, in order."""
    has = {name: " ".join(value.split()) for name, value in element.attrs.items() if name in _KNOWN}
    if not has:
        return {}
    found = {name: next((has[other] for other in ALIASES.get(name, (name,)) if other in has), "") for name in ATTRS}
    if len(found["id"]) > 24 or sum(map(str.isdigit, found["id"])) > 3:
        found["id"] = ""
    if element.tag in ("button", "option", "li") or found["value"] == "on":
        found["value"] = ""
    if element.tag not in ("input", "select", "textarea"):
        found["type"] = ""
    if found["role"] == element.tag:
        found["role"] = ""
    href = _HOST.sub("", found["href"])
    path = re.split(r"[?]|(?<=.)#", href)[0]
    found["href"] = path if len(path) <= LONG_HREF else "..." + path[-LONG_HREF:]
    attrs = {name: value for name, value in found.items() if value}
    for flag in FLAGS:
        values = [has[name] for name in ALIASES.get(flag, (flag,)) if name in has]
        if flag == "hidden":
            on = not hidden and (
                bool(values) or found["type"] == "hidden" or bool(_HIDING.search(has.get("style", "")))
            )
        else:
            on = bool(values) and values[0] != "false"
        if on and not (flag == "clickable" and (element.tag in NATIVE or found["role"] in ROLES)):
            attrs[flag] = ""
    return attrs


def _class_of(element: _Element) -> tuple[tuple[str, str], ...]:
    """The class of the element or of the first inside it that has one, as a name for an icon."""
    if name := " ".join(element.attrs.get("class", "").split())[:LONG_CLASS].strip():
        return (("class", name),)
    inside = (child for child in element.children if isinstance(child, _Element))
    return next((found for child in inside if (found := _class_of(child))), ())
