"""MiniWoB++ tasks (arXiv 1802.08802) in headless Chromium: open a task, read its page, act on an element."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from swirl_lightning.environments.web.html_parser import parse_page
from swirl_lightning.environments.web.page import Node, Page, render
from swirl_lightning.types import InputError

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

# As root, without a GPU and in the 64 MB of /dev/shm that a container has; nothing is fetched from the network.
FLAGS = (
    "--headless=new --no-sandbox --disable-dev-shm-usage --disable-gpu --disable-extensions --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync --window-size=500,400"
)
SETTLE_SECONDS = 2.0

# Elements that listen to clicks are found by listening in when the page's scripts register.
WATCH = """
const add = EventTarget.prototype.addEventListener;
EventTarget.prototype.addEventListener = function (type, ...rest) {
  if (this instanceof Element && this !== document.body && ['click', 'mousedown', 'focus'].includes(type))
    this.swirlClickable = true;
  return add.call(this, type, ...rest);
};
"""
# Episodes have no time limit, and no change is animated.
START = """
Math.seedrandom(arguments[0]);
core.EPISODE_MAX_TIME = 1e9;
if (window.jQuery) jQuery.fx.off = true;
core.startEpisodeReal();
"""
# The page as HTML with what the markup does not say: values, checks, focus, and what is not displayed.
READ = """
const escape = text => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/"/g, '&quot;');
const names = ['id', 'class', 'name', 'role', 'title', 'alt', 'placeholder', 'href', 'value', 'disabled',
  'aria-label', 'aria-expanded', 'aria-selected', 'aria-checked'];
const frame = ['query', 'reward-display', 'sync-task-cover', 'click-canvas'];
window.swirlElements = [];
function html(node) {
  if (node instanceof Text) return escape(node.data);
  if (!(node instanceof HTMLElement) || frame.includes(node.id)) return '';
  const tag = node.tagName.toLowerCase(), style = getComputedStyle(node), attrs = {};
  for (const name of names) if (node.hasAttribute(name)) attrs[name] = node.getAttribute(name);
  attrs['data-key'] = window.swirlElements.push(node) - 1;
  if (tag === 'input') attrs.type = node.type;
  if (['input', 'textarea'].includes(tag) && !['checkbox', 'radio'].includes(node.type)) attrs.value = node.value;
  if (node.checked) attrs.checked = '';
  if (tag === 'option' && node.selected) attrs.selected = '';
  if (node === document.activeElement) attrs.focused = '';
  if (node.swirlClickable || node.onclick) attrs.clickable = '';
  if (style.display === 'none' || style.visibility === 'hidden') attrs.hidden = '';
  const words = Object.entries(attrs).map(([name, value]) => ` ${name}="${escape(String(value))}"`);
  const inside = tag === 'textarea' ? '' : Array.from(node.childNodes, html).join('');
  return `<${tag}${words.join('')}>${inside}</${tag}>`;
}
const wrap = document.getElementById('wrap');
const roots = [...wrap.children, ...Array.from(document.body.children).filter(node => node !== wrap)];
return [core.getUtterance(), roots.map(html).join(''), WOB_DONE_GLOBAL, WOB_RAW_REWARD_GLOBAL];
"""


@dataclass(frozen=True, slots=True)
class View:
    """What a task shows.

    Args:
        utterance: what the task asks for.
        page: its page.
        result: ``solved`` or ``failed`` once the task is over; before that None.
    """

    utterance: str
    page: Page
    result: str | None = None

    @property
    def text(self) -> str:
        """The state: the task, its result once there is one, then the page."""
        return "\n".join(
            [f"Task: {self.utterance}", *([f"Result: {self.result}"] if self.result else []), render(self.page)]
        )


class MiniWob:
    """A browser with MiniWoB++ tasks; a context manager.

    Raises:
        InputError: a package, Chromium or its driver is missing or, on entry, does not start.
    """

    def __init__(self) -> None:
        spec = find_spec("miniwob") if find_spec("selenium") else None
        if spec is None or spec.origin is None:
            raise InputError(
                "swirl collect web: the packages miniwob and selenium are not installed; "
                "pip install 'swirl-lightning[web]'"
            )
        self._chromium = _program("chromium", "chromium-browser", "google-chrome")
        self._chromedriver = _program("chromedriver")
        self._pages = Path(spec.origin).parent / "html" / "miniwob"

    def __enter__(self) -> MiniWob:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._driver.quit()

    def restart(self) -> None:
        """Go on with a fresh browser, where the one that is open does not answer."""
        with suppress(Exception):  # it may be gone, or half of it
            self._driver.quit()
        self._start()

    def _start(self) -> None:
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver import Chrome, ChromeOptions, ChromeService

        options = ChromeOptions()
        options.binary_location = self._chromium
        for flag in FLAGS.split():
            options.add_argument(flag)
        try:
            self._driver: Chrome = Chrome(options, ChromeService(self._chromedriver))
        except WebDriverException as error:
            raise InputError(
                f"swirl collect web: {self._chromium} does not start with {self._chromedriver} ({first_line(error)}); "
                "expected Chromium and a driver of the same version: apt-get install chromium chromium-driver"
            ) from error
        self._driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})

    @property
    def version(self) -> str:
        """The version of the browser."""
        return str(self._driver.capabilities["browserVersion"])

    def tasks(self) -> list[str]:
        """The names of all tasks that the package has."""
        return sorted(path.stem for path in self._pages.glob("*.html"))

    def open(self, task: str, seed: str) -> View:
        """Load a task anew and start an episode; the same seed gives the same."""
        self._driver.get((self._pages / f"{task}.html").as_uri())
        self._driver.execute_script(START, seed)
        return self._read()

    def act(self, operation: str, node: Node, argument: str | None) -> View:
        """Do CLICK, TYPE (in place of what was there) or SELECT to an element, as a user would, and read the page.

        What the browser refuses, as another element covers this one, say, changes nothing.
        """
        from selenium.common.exceptions import ElementClickInterceptedException, ElementNotInteractableException
        from selenium.webdriver import Keys
        from selenium.webdriver.support.ui import Select

        element: Any = self._driver.execute_script("return window.swirlElements[arguments[0]];", int(node.keys[0]))
        with suppress(ElementClickInterceptedException, ElementNotInteractableException):
            if operation == "CLICK":
                element.click()
            elif operation == "TYPE":
                element.send_keys(Keys.CONTROL + "a" + Keys.NULL, Keys.BACKSPACE, str(argument))
            else:
                Select(element).select_by_visible_text(str(argument))
        return self._read()

    def _read(self) -> View:
        """The view, once two readings in a row are equal."""
        end = time.monotonic() + SETTLE_SECONDS
        last, now = None, self._driver.execute_script(READ)
        while last != now and time.monotonic() < end:
            time.sleep(0.02)
            last, now = now, self._driver.execute_script(READ)
        utterance, html, done, reward = now
        return View(utterance, parse_page(html), ("solved" if reward == 1 else "failed") if done else None)


def _program(*names: str) -> str:
    for name in names:
        if path := shutil.which(name):
            return path
    raise InputError(
        f"swirl collect web: found no program {' or '.join(names)} on the path, expected Chromium and its driver; "
        "apt-get install chromium chromium-driver"
    )


def first_line(error: Exception) -> str:
    """What an error says, without the stack of the browser that follows it."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
