"""The caller's end of HTTP and WebSocket."""

import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    WSServerHandshakeError,
)

from wakumail.base.text import printable
from wakumail.base.transports import read_up_to
from wakumail.rpc.client import MAX_ANSWER, CallFailed
from wakumail.rpc.http import JSON, WebSocketWire
from wakumail.rpc.stream import Wire

CONNECT_TIMEOUT = 10.0
"""Seconds that a server may take to accept a connection; an answer may take longer."""


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
            answer = await read_up_to(response.content.iter_any(), MAX_ANSWER)
        if len(answer) > MAX_ANSWER:
            raise CallFailed(f"{self._url}: an answer of more than {MAX_ANSWER} bytes")
        if response.status != 200:
            raise CallFailed(f"{self._url}: HTTP {response.status}: {printable(answer)}")
        if answer:
            self._answers.append(answer)

    async def receive(self) -> bytes | None:
        """The answer of the oldest request; None when none is left."""
        return self._answers.popleft() if self._answers else None


@asynccontextmanager
async def connect_url(url: str, token: str | None = None) -> AsyncIterator[Wire]:
    """A wire to an http://, https://, ws:// or wss:// URL; CallFailed if the connection fails."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    timeout = ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
    try:
        async with ClientSession(headers=headers, timeout=timeout) as session:
            if url.startswith(("ws://", "wss://")):
                async with session.ws_connect(
                    url, autoping=False, max_msg_size=MAX_ANSWER
                ) as socket:
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
