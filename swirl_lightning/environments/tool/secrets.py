"""Keys and passwords that a server is given, which come back neither in data nor in messages."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, urlsplit

MASK = "..."
SHORTEST = 4  # characters; what is shorter is no secret, and stands in too many words
_NAME = r"[\w-]*(?:key|token|secret|pass|pwd|credential|cookie|dsn|auth(?!or))[\w-]*"
_SECRET = re.compile(
    rf"""(?ix)(?<![\w-])
    ( -{{1,2}}{_NAME}[=\s]\s* | {_NAME}= | (?:authorization|x-[\w-]+):\s*(?:(?:bearer|basic|token)\s+)? )
    ( '[^']*' | "[^"]*" | [^\s'"]+ )"""
)
_SECRET_NAME = re.compile(rf"(?i)-*{_NAME}")
_USER = re.compile(r"://([^/@\s'\"]+)@")
_PLAIN = re.compile(r"[\w@%+=:,./{}-]+")
_HARMLESS = re.compile(r"(?i)true|false|none|null|\d{1,5}")


class Secrets:
    """What must not be seen of a server's address and headers.

    A value is secret if the name before it says key, token, secret, password or the like: a setting, an option, a
    header or a part of a URL's query; and so are a user and password within a URL.

    Args:
        address: a command line or a URL.
        headers: as they are given, with ``$NAME`` for environment variables.
    """

    def __init__(self, address: str, headers: Mapping[str, str]) -> None:
        self._address = address
        self._is_http = address.startswith(("http://", "https://"))
        self.values = {value for value in self._values(headers) if _is_secret(value)}

    @property
    def public_address(self) -> str:
        """The address without what is secret, nor what a URL asks for."""
        if self._is_http:
            return re.sub(r"//[^/@]*@", "//", self._address).split("?")[0]
        try:
            words = shlex.split(self._address)
        except ValueError:  # its quotes do not close, and it is refused
            return self._hide(_SECRET.sub(rf"\1{MASK}", self._address))
        return " ".join(word if _PLAIN.fullmatch(word) else shlex.quote(word) for word in self._masked(words))

    def hide(self, text: str) -> str:
        """The text without any of the secrets, as they are or as JSON writes them."""
        return self._hide(text.replace(self._address, self.public_address))

    def hide_in(self, value: Any) -> Any:
        """A value that JSON can write, without any of the secrets."""
        return json.loads(self.hide(json.dumps(value, ensure_ascii=False))) if self.values else value

    def _hide(self, text: str) -> str:
        for value in sorted(self.values, key=len, reverse=True):
            for form in (value, json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(value)[1:-1]):
                text = text.replace(form, MASK)
        return text

    def _values(self, headers: Mapping[str, str]) -> Iterator[str]:
        for value in headers.values():
            filled = os.path.expandvars(value)
            yield from (filled, *filled.split()[-1:])
            yield from (os.environ.get(name, "") for name in re.findall(r"\$\{?(\w+)", value))
        for user in _USER.findall(self._address):
            yield from (user, user.partition(":")[2])
        if self._is_http:
            asked = parse_qsl(urlsplit(self._address).query)
            yield from (value for name, value in asked if _SECRET_NAME.fullmatch(name))
            return
        yield from (found[1].strip("'\"") for found in _SECRET.findall(self._address))
        with suppress(ValueError):  # of quotes that do not close
            yield from (value for _, value in _given(shlex.split(self._address)) if value)

    def _masked(self, words: Sequence[str]) -> Iterator[str]:
        for word, value in _given(words):
            if value:
                yield word.removesuffix(value) + MASK
            else:
                yield self._hide(_SECRET.sub(rf"\1{MASK}", word))


def _given(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each word of a command line, and the part of it that is secret by the name before it."""
    for before, word in zip(["", *words], words, strict=False):
        name, equals, value = word.partition("=")
        if before.startswith("-") and _SECRET_NAME.fullmatch(before):
            yield word, word
        else:
            yield word, value if equals and _SECRET_NAME.fullmatch(name) else ""


def _is_secret(value: str) -> bool:
    return len(value) >= SHORTEST and "{folder}" not in value and not _HARMLESS.fullmatch(value)
