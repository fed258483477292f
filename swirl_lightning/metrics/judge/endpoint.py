"""One POST to an endpoint that speaks OpenAI's chat completions, as often as it takes and no more than is allowed.

The standard library does it: this is the only request that the package makes, and no dependency has to be trusted with
the key.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from swirl_lightning.types import InputError, printable

log = logging.getLogger(__name__)

AGAIN = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 529))
"""Answers after which asking again may help."""
HOPELESS = frozenset((401, 403, 404, 405))
"""Answers that every other request would get too."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
MOST_BYTES = 16 << 20


class Unanswered(Exception):
    """A request got no answer of use; the message says why."""


class OutOfBudget(Exception):
    """No further request may be made."""


class _NoRedirect(HTTPRedirectHandler):
    """A redirected request would carry the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass
class Endpoint:
    """Where the judge is asked. Threads may share it: all of them wait where one is told to.

    Args:
        url: of the API, as ``https://api.openai.com/v1``; ``/chat/completions`` follows it.
        key: sent as a bearer token, and written nowhere; empty where there is none.
        timeout: seconds of silence after which a request is given up.
        retries: how often a request is made again.
        budget: most requests, those that are made again included.

    ``requests`` counts those that were made.
    """

    url: str
    key: str = field(default="", repr=False)
    timeout: float = 120.0
    retries: int = 6
    budget: int = 1000
    requests: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"--url: found {self.url!r}, expected an address as https://api.openai.com/v1")
        if parts.username or parts.password or parts.query:
            raise InputError("--url: found a name, a password or a query in it, expected none: they would be written")
        if not (self.key.isascii() and self.key.isprintable()):
            raise InputError("the API key: found letters that no header can hold; set its variable again")
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._closed = threading.Event()
        self._opener = build_opener(_NoRedirect)

    def ask(self, body: Mapping[str, Any]) -> str:
        """The text of the first choice.

        Raises:
            Unanswered: there is none, after all retries.
            OutOfBudget: the budget is spent.
            InputError: no request can get one: the key, the address or the model is wrong.
        """
        for attempt in range(self.retries + 1):
            self._take()
            try:
                return _content(self._post(json.dumps(body).encode()))
            except HTTPError as error:
                with error:
                    told = self._told(error)
                if error.code in HOPELESS or 300 <= error.code < 400:
                    self.close()
                    raise InputError(
                        f"--url {self.url}: found the answer {told}; check address, model and key"
                    ) from error
                if error.code not in AGAIN:
                    raise Unanswered(f"found the answer {told}") from error
                pause = _retry_after(error.headers.get("Retry-After"))
            except (URLError, HTTPException, OSError) as error:  # a time-out is an OSError
                told, pause = f"no answer ({_hide(str(getattr(error, 'reason', error)) or 'cut off', self.key)})", None
            if attempt == self.retries:
                raise Unanswered(f"{told}, {attempt + 1} times")
            self._wait(FIRST_PAUSE * 2**attempt if pause is None else pause, told, exact=pause is not None)
        raise AssertionError

    def close(self) -> None:
        """Let threads that wait, or would ask again, make no request any more."""
        self._closed.set()

    def _post(self, data: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self.url.rstrip('/')}/chat/completions", data, headers, method="POST")
        if self.key:
            request.add_unredirected_header("Authorization", f"Bearer {self.key}")
        with self._opener.open(request, timeout=self.timeout) as answer:
            data = answer.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise Unanswered(f"found an answer of more than {MOST_BYTES >> 20} MiB")
        return data

    def _take(self) -> None:
        """Take one of the requests that are left, at the time from which on one may be made."""
        while True:
            with self._lock:
                if self.requests >= self.budget or self._closed.is_set():
                    raise OutOfBudget
                if (wait := self._not_before - time.monotonic()) <= 0:
                    self.requests += 1
                    return
            self._closed.wait(wait)

    def _wait(self, seconds: float, told: str, *, exact: bool) -> None:
        """Let no thread ask for so long: exactly where the endpoint said so, else about so long, and not for ever."""
        pause = seconds if exact else min(seconds, LONGEST_PAUSE) * random.uniform(0.75, 1.25)
        log.info("%s: %s; asking again in %.1f s", self.url, told, pause)
        with self._lock:
            self._not_before = max(self._not_before, time.monotonic() + pause)

    def _told(self, error: HTTPError) -> str:
        try:
            text = error.read(2000).decode(errors="replace")
        except OSError:
            text = ""
        return f"{error.code} {_hide(printable(' '.join(text.split()), kept=''), self.key):.200}".strip()


def _hide(text: str, key: str) -> str:
    return text.replace(key, "...") if key else text


def _retry_after(value: str | None) -> float | None:
    """Seconds that ``Retry-After`` asks for, which is a number of them or a date; None where it says nothing."""
    if value is None:
        return None
    try:
        return max(0.0, float(value)) if float(value) < 86400 else None
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())


def _content(data: bytes) -> str:
    try:
        content = json.loads(data)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise Unanswered("found no chat completion in the answer") from error
    if not isinstance(content, str):
        raise Unanswered(f"found {type(content).__name__} in the answer, expected text")
    return content
