"""A caller on a connection that goes both ways: calls side by side, answers, notifications."""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeAlias

from wakumail.counters import Counters
from wakumail.rpc.jsonrpc import Dispatcher, RpcError, Session, encode

MAX_SESSIONS = 128
"""Connections of callers at a time, for each address and for the Unix socket."""

MAX_CALLS = 16
"""Messages of one session in progress or with their answers unsent; more are not read."""

MAX_UNREAD_NOTIFICATIONS = 16 << 20
"""Bytes of notifications that may wait for a caller to read them; what comes beyond is dropped.
In hexadecimal one packet from a peer may bring 20 MiB, but not all at once."""

SEND_TIMEOUT = 30.0
"""Seconds in which a caller takes one answer or notification; then its session is ended."""

BATCH = re.compile(rb"[ \t\r\n]*\[")

Outgoing: TypeAlias = tuple[bytes, Callable[[], None]]
"""What is to be sent, and what to do when it has been."""


class Wire(Protocol):
    """A connection that carries JSON values."""

    async def receive(self) -> bytes | None:
        """The next value; None when no more comes but answers are still read.

        OSError when the connection is gone, RpcError when what came is the last to be understood.
        """

    async def send(self, value: bytes) -> None:
        """Send a value; returns when the connection can take another one. OSError as above."""


class StreamSession(Session):
    """Serves one wire until either side ends it."""

    can_notify = True

    def __init__(self, dispatcher: Dispatcher, wire: Wire, counters: Counters) -> None:
        super().__init__()
        self.slow = False
        self._dispatcher = dispatcher
        self._wire = wire
        self._counters = counters
        self._limit = asyncio.timeout(None)
        self._closing = False
        self._room = asyncio.Semaphore(MAX_CALLS)
        self._outgoing: asyncio.Queue[Outgoing | None] = asyncio.Queue()
        self._unread = 0
        self._batches = 0
        self._held: deque[bytes] = deque()

    async def serve(self) -> None:
        """Answer what comes until the connection ends; `slow` says then if it had to."""
        try:
            async with self._limit, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write())
                await self._read()
                self._outgoing.put_nowait(None)
        except* OSError:
            pass  # A caller that left, or close(): TimeoutError is one of them.
        finally:
            self._closing = True
            self.end()

    def close(self) -> None:
        """End the session without waiting for anything."""
        if not self._closing:
            self._closing = True
            self._limit.reschedule(asyncio.get_running_loop().time())

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification; it is dropped where the caller leaves too many unread."""
        if self._closing:
            return
        notification = encode({"jsonrpc": "2.0", "method": method, "params": params})
        if self._unread and self._unread + len(notification) > MAX_UNREAD_NOTIFICATIONS:
            self._counters.add("rpc_notifications_dropped")
            return
        self._unread += len(notification)
        if self._batches:
            # The caller has not heard yet of a subscription that the batch has begun.
            self._held.append(notification)
        else:
            self._put_notification(notification)

    async def _read(self) -> None:
        """Take messages as long as there is room, and see their calls through."""
        async with asyncio.TaskGroup() as calls:
            try:
                while (raw := await self._wire.receive()) is not None:
                    await self._room.acquire()
                    calls.create_task(self._call(raw))
            except RpcError as error:
                self._outgoing.put_nowait((self._dispatcher.refusal(error), lambda: None))

    async def _call(self, raw: bytes) -> None:
        """Answer one message; it takes its room until the answer is sent."""
        batch = BATCH.match(raw) is not None
        self._batches += batch
        answer = await self._dispatcher.handle(self, raw)
        if answer is None:
            self._room.release()
        else:
            self._outgoing.put_nowait((answer, self._room.release))
        self._batches -= batch
        while self._held and not self._batches:
            self._put_notification(self._held.popleft())

    async def _write(self) -> None:
        """Send what is to be sent, in order."""
        while (item := await self._outgoing.get()) is not None:
            value, sent = item
            try:
                async with asyncio.timeout(SEND_TIMEOUT):
                    await self._wire.send(value)
            except TimeoutError:
                self._mark_slow()
                raise
            sent()

    def _put_notification(self, notification: bytes) -> None:
        self._outgoing.put_nowait((notification, partial(self._forget, len(notification))))

    def _forget(self, size: int) -> None:
        """A notification of `size` bytes was sent."""
        self._unread -= size

    def _mark_slow(self) -> None:
        """Note that this session ends for it does not read."""
        if not self.slow:
            self.slow = True
            self._counters.add("rpc_sessions_slow")
