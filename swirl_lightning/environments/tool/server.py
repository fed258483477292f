"""One Model Context Protocol server (package ``mcp``), started anew for each episode, that may misbehave."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from swirl_lightning.environments.tool.documentation import Tool
from swirl_lightning.environments.tool.result import write_json
from swirl_lightning.environments.tool.secrets import Secrets
from swirl_lightning.types import InputError

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import CallToolResult
    from mcp_types import Tool as ListedTool

FOLDER = "{folder}"
START_SECONDS = 180.0  # a first start may download the server
_SETTING = re.compile(r"[A-Za-z_]\w*=")


class ServerLost(Exception):
    """The server hangs, has ended or answers what is no answer: its state is not known any more."""


class Server:
    """Where a server is and how to talk to it.

    Args:
        address: a command line, begun by ``NAME=VALUE`` words for its environment where it needs some, or the URL of a
            server that speaks streamable HTTP. ``{folder}`` in a command line stands for the folder of the episode.
        timeout: seconds that a call may take.
        headers: of every request to a URL; ``$NAME`` in a value stands for that environment variable.

    Raises:
        InputError: the package ``mcp`` is missing, the address is no command line, or headers are given to one or name
            a variable that is not set.
    """

    def __init__(self, address: str, timeout: float, headers: dict[str, str] | None = None) -> None:
        try:
            from mcp.client import Client  # noqa: F401 - version 2 has it, version 1 has not
        except ImportError as error:
            raise InputError(
                "swirl collect tool: the package mcp is not installed, or older than 2; "
                "pip install 'swirl-lightning[tool]'"
            ) from error
        self.address = address
        self.timeout = timeout
        self.is_http = address.startswith(("http://", "https://"))
        self.secrets = Secrets(address, headers or {})
        self.words = [] if self.is_http else _split(address, self.public_address)
        self.headers = {name: _filled_in(name, value) for name, value in (headers or {}).items()}
        if self.headers and not self.is_http:
            raise InputError(
                f"--headers: found {', '.join(self.headers)} for a command line, expected a URL as --server"
            )
        self.about: dict[str, Any] = {}
        logging.getLogger("mcp").setLevel(logging.CRITICAL)  # what goes wrong is said here, in one line
        logging.getLogger("client").setLevel(logging.CRITICAL)

    @property
    def has_folder(self) -> bool:
        """Whether each episode has a folder of its own."""
        return any(FOLDER in word for word in self.words)

    @property
    def public_address(self) -> str:
        """The address without what is secret, for the record and for messages."""
        return self.secrets.public_address

    @asynccontextmanager
    async def session(self, folder: Path) -> AsyncIterator[Session]:
        """A connection, for a command line to a process of its own that ends with it.

        Raises:
            InputError: the server does not start. The message ends with the last lines of its standard error.
        """
        from mcp.client import Client

        with tempfile.TemporaryFile("w+", errors="replace") as errors:
            client = Client(self._target(folder, cast(TextIO, errors)), cache=None)
            try:
                async with asyncio.timeout(START_SECONDS):
                    await client.__aenter__()
            except Exception as error:
                raise InputError(self._cannot_start(error, cast(TextIO, errors))) from error
            try:
                if info := client.server_info:
                    self.about = {"name": info.name, "version": info.version}
                yield Session(client, self.timeout, self.secrets)
            finally:
                await client.__aexit__(None, None, None)

    def _target(self, folder: Path, errors: TextIO) -> Any:
        if self.is_http:
            return self._http() if self.headers else self.address
        from mcp.client.stdio import StdioServerParameters, stdio_client

        words = [word.replace(FOLDER, str(folder)) for word in self.words]
        count = next(n for n, word in enumerate(words) if not _SETTING.match(word))
        settings = dict(word.split("=", 1) for word in words[:count])
        command, *args = words[count:]
        # of this process's environment the client hands on PATH, HOME and a few more, no keys or tokens
        return stdio_client(StdioServerParameters(command=command, args=args, env=settings), errlog=errors)

    def _http(self) -> Any:
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        timeout = httpx2.Timeout(START_SECONDS, read=None)  # a call has a time limit of its own
        client = httpx2.AsyncClient(headers=self.headers, timeout=timeout)
        return streamable_http_client(self.address, http_client=client)

    def _cannot_start(self, error: Exception, errors: TextIO) -> str:
        errors.seek(0)
        said = " | ".join(errors.read().strip().splitlines()[-5:])
        cure = "check the URL, --headers where it asks for a key, and that the server runs"
        return self.secrets.hide(
            f"--server {self.public_address}: the server does not start: {reason(error)}"
            + (f"; its last words: {said}" if said else "")
            + f"; {cure if self.is_http else 'run the command by hand to see why'}"
        )


class Session:
    """An open connection. What it gives holds none of the server's secrets."""

    def __init__(self, client: Client, timeout: float, secrets: Secrets) -> None:
        self._client = client
        self._timeout = timeout
        self._secrets = secrets

    async def tools(self) -> list[Tool]:
        """All tools that the server has.

        Raises:
            ServerLost: no list of tools came.
        """
        listed: list[ListedTool] = []
        cursor: str | None = None
        try:
            async with asyncio.timeout(max(self._timeout, 30)):
                while True:
                    page = await self._client.list_tools(cursor=cursor)
                    listed += page.tools
                    if not (cursor := page.next_cursor):
                        return [_tool(each, self._secrets) for each in listed]
        except Exception as error:
            raise ServerLost(self._secrets.hide(reason(error))) from error

    async def call(self, tool: str, arguments: dict[str, Any]) -> str:
        """The result of a call as text; an error that the server reports is a result too.

        Raises:
            ServerLost: none came in time, the connection broke, or it is no result.
        """
        from mcp.shared.exceptions import MCPError
        from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT

        try:
            async with asyncio.timeout(self._timeout):
                return self._secrets.hide(_text(await self._client.call_tool(tool, arguments)))
        except TimeoutError as error:
            raise ServerLost(f"no answer within {self._timeout:g} s") from error
        except MCPError as error:
            if error.code in (CONNECTION_CLOSED, REQUEST_TIMEOUT):
                raise ServerLost(self._secrets.hide(reason(error))) from error
            return self._secrets.hide(f"error: {error.message}")
        except Exception as error:
            raise ServerLost(self._secrets.hide(f"answered what is no result ({reason(error)})")) from error


def reason(error: BaseException) -> str:
    """What went wrong in one line; of a group of errors the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _filled_in(header: str, value: str) -> str:
    filled = os.path.expandvars(value)
    if missing := re.search(r"\$\{?\w+", filled):
        raise InputError(f"--headers: {header}: found no environment variable {missing[0].strip('${')}; export it")
    return filled


def _split(address: str, shown: str) -> list[str]:
    try:
        words = shlex.split(address)
    except ValueError as error:
        raise InputError(f"--server: found {shown!r}, expected a command line ({error}); mend its quotes") from error
    if all(_SETTING.match(word) for word in words):
        raise InputError(
            f"--server: found {shown!r}, expected a command line, for example 'npx -y "
            "@modelcontextprotocol/server-memory', or a URL that begins with http:// or https://"
        )
    return words


def _tool(listed: ListedTool, secrets: Secrets) -> Tool:
    """The tool with the dangers that its server does not rule out.

    The specification's defaults for what is not said: a tool is not read-only, is destructive unless it is read-only,
    and deals with an open world.
    """
    hints = listed.annotations
    read_only = bool(hints and hints.read_only_hint)
    destructive = not read_only and (hints is None or hints.destructive_hint is not False)
    open_world = hints is None or hints.open_world_hint is not False
    dangers = [name for name, there in (("destructive", destructive), ("open-world", open_world)) if there]
    description, schema = secrets.hide(listed.description or ""), secrets.hide_in(listed.input_schema)
    return Tool(listed.name, description, schema, read_only, tuple(dangers))


def _text(result: CallToolResult) -> str:
    """The text of a result; other content by its kind and size, as no model could write it."""
    parts = []
    for block in result.content:
        if block.type == "text":
            parts.append(block.text)
        elif block.type == "resource":
            parts.append(getattr(block.resource, "text", f"[{block.resource.mime_type or 'binary'} resource]"))
        elif block.type == "resource_link":
            parts.append(f"[link to {block.uri}]")
        else:
            parts.append(f"[{block.mime_type}, {len(block.data)} characters of base64]")
    if not parts and result.structured_content is not None:
        parts.append(write_json(result.structured_content))
    return ("error: " if result.is_error else "") + "\n".join(parts)
