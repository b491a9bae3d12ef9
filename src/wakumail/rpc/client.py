"""The caller's end: wires to a server over a Unix socket, a WebSocket or HTTP."""

import asyncio
import json
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    WSServerHandshakeError,
)

from wakumail.base.text import printable
from wakumail.errors import WakumailError
from wakumail.rpc.http import JSON, WebSocketWire
from wakumail.rpc.ipc import IpcWire
from wakumail.rpc.jsonrpc import encode, parse
from wakumail.rpc.stream import Wire

MAX_ANSWER = 64 << 20
"""Most bytes of one answer."""

CONNECT_TIMEOUT = 10.0
"""Seconds that a server may take to accept a connection; an answer may take longer."""


class CallFailed(WakumailError):
    """A call failed, here or at the server; the text says why."""

    counter = "rpc_call_failed"


class HttpWire:
    """HTTP as a wire: each value sent is a request, and `receive` gives the answers in order."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._answers: deque[bytes] = deque()

    async def send(self, value: bytes) -> None:
        """Send a request and wait for the answer."""
        headers = {"Content-Type": JSON}
        # No redirects: the token is for this URL only.
        async with self._session.post(
            self._url, data=value, headers=headers, allow_redirects=False
        ) as response:
            answer = await response.read()
        if response.status != 200:
            raise CallFailed(f"{self._url}: HTTP {response.status}: {printable(answer)}")
        if answer:
            self._answers.append(answer)

    async def receive(self) -> bytes | None:
        """The answer of the oldest request; None when none is left."""
        return self._answers.popleft() if self._answers else None


@asynccontextmanager
async def connect_ipc(path: Path) -> AsyncIterator[Wire]:
    """A wire to the Unix socket of a server; CallFailed if nobody listens there."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError as error:
        text = f"{path}: {error.strerror or error}"
        hint = "does the node run, and is --datadir or --ipcpath that of the node?"
        if isinstance(error, PermissionError):
            hint = "only the user of the node, and root, may call it there"
        raise CallFailed(f"{text}; {hint}") from None
    try:
        yield IpcWire(reader, writer, MAX_ANSWER)
    finally:
        writer.close()


@asynccontextmanager
async def connect_url(url: str, token: str | None = None) -> AsyncIterator[Wire]:
    """A wire to an http://, https://, ws:// or wss:// URL; CallFailed if the connection fails."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    timeout = ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
    try:
        async with ClientSession(headers=headers, timeout=timeout) as session:
            if url.startswith(("ws://", "wss://")):
                async with session.ws_connect(url, max_msg_size=MAX_ANSWER) as socket:
                    yield WebSocketWire(socket)
            else:
                yield HttpWire(session, url)
    except ClientSSLError as error:
        fault = getattr(error.os_error, "reason", None) or error.os_error
        raise CallFailed(f"{url}: no TLS connection: {fault}") from None
    except ClientConnectorError as error:
        # aiohttp's text has asyncio's, "Connect call failed", whatever the reason.
        number = error.os_error.errno or 0
        text = os.strerror(number) if number > 0 else str(error)
        raise CallFailed(f"{url}: {text}; does the node serve this URL?") from None
    except WSServerHandshakeError as error:
        raise CallFailed(f"{url}: it opens no WebSocket: HTTP {error.status}") from None
    except ClientError as error:
        raise CallFailed(f"{url}: {error}") from None


async def ask(wire: Wire, method: str, *params: Any) -> dict[str, Any]:
    """Make one call; the whole answer, which may be an error. CallFailed if none comes."""
    await wire.send(encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    return await receive(wire)


async def call(wire: Wire, method: str, *params: Any) -> Any:
    """The result of one call; CallFailed if none comes, or an error."""
    answer = await ask(wire, method, *params)
    if "error" in answer:
        raise CallFailed(describe_error(answer["error"]))
    return answer.get("result")


async def receive(wire: Wire) -> dict[str, Any]:
    """The next object from the node."""
    raw = await wire.receive()
    if raw is None:
        raise CallFailed("the node has closed the connection")
    value = parse(raw)
    if not isinstance(value, dict):
        raise CallFailed("the answer is not JSON-RPC")
    return value


def describe_error(error: Any) -> str:
    """An error object for a person: text, code and data."""
    if not isinstance(error, dict):
        return printable(json.dumps(error).encode())
    text = printable(str(error.get("message")).encode("utf-8", "replace"))
    data = f": {json.dumps(error['data'])}" if "data" in error else ""
    return f"{text} ({error.get('code')}){data}"
