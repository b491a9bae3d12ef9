"""A caller on a two-way connection: parallel calls, answers, notifications."""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeAlias

from wakumail.counters import Counters
from wakumail.rpc.caller_slots import Caller
from wakumail.rpc.jsonrpc import Dispatcher, RpcError, Session, SharedResult, encode

MAX_SESSIONS = 128
"""Most connections of callers at a time, on each address and on the Unix socket. The next one takes
the slot of the one that has been idle for the longest."""

MAX_CALLS = 16
"""Most messages of one session in progress or with unsent answers; then reading pauses."""

MAX_UNREAD_NOTIFICATIONS = 16 << 20
"""Most bytes of notifications that wait for a caller to read them; further ones are dropped. In
hexadecimal one packet from a peer may bring 20 MiB, but not all at once."""

SEND_TIMEOUT = 30.0
"""Seconds that a caller may take to read one answer or notification; then its session ends."""

BATCH = re.compile(rb"[ \t\r\n]*\[")

Outgoing: TypeAlias = tuple[bytes, Callable[[], None]]
"""A value to send, and a function to call when it is sent."""


class Wire(Protocol):
    """A connection that carries JSON values."""

    async def receive(self) -> bytes | None:
        """The next value; None if no more comes but answers are still read.

        OSError if the connection is gone, RpcError if no later value can be understood.
        """

    async def send(self, value: bytes) -> None:
        """Send a value; returns when the connection can take another one. OSError as above."""


class StreamSession(Session):
    """Serves one wire until either side ends it."""

    can_notify = True

    def __init__(
        self, dispatcher: Dispatcher, wire: Wire, counters: Counters, caller: Caller | None = None
    ) -> None:
        """`caller` is its slot, if its listener has a number of them."""
        super().__init__()
        self._caller = caller or Caller(self.close)
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
        """Answer calls until the connection ends; `slow` is true if the caller did not read."""
        try:
            async with self._limit, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write())
                await self._read()
                self._outgoing.put_nowait(None)
        except* OSError:
            pass  # The caller left, or close() was called, whose TimeoutError is an OSError.
        finally:
            self._closing = True
            self.end()

    def close(self) -> None:
        """End the session without waiting for anything."""
        if not self._closing:
            self._closing = True
            self._limit.reschedule(asyncio.get_running_loop().time())

    def notify(self, method: str, subscription: str, result: SharedResult) -> None:
        """Send a notification; it is dropped if the caller leaves too many unread."""
        if self._closing:
            return
        # Asked before the result becomes JSON: that takes 6 ms where it has 2 MB.
        if self._unread and self._unread + result.size > MAX_UNREAD_NOTIFICATIONS:
            self._counters.add("rpc_notifications_dropped")
            return
        notification = b'{"jsonrpc":"2.0","method":%b,"params":{"subscription":%b,"result":%b}}' % (
            encode(method),
            encode(subscription),
            result.json,
        )
        self._unread += len(notification)
        if self._batches:
            # The caller does not know yet of a subscription that the batch has begun.
            self._held.append(notification)
        else:
            self._put_notification(notification)

    async def _read(self) -> None:
        """Read messages while there is room, and wait for their calls."""
        async with asyncio.TaskGroup() as calls:
            try:
                while (raw := await self._wire.receive()) is not None:
                    await self._room.acquire()
                    calls.create_task(self._call(raw))
            except RpcError as error:
                self._outgoing.put_nowait((self._dispatcher.refusal(error), lambda: None))

    async def _call(self, raw: bytes) -> None:
        """Answer one message; it takes room until its answer is sent."""
        batch = BATCH.match(raw) is not None
        self._batches += batch
        with self._caller.calling():
            answer = await self._dispatcher.handle(self, raw)
        self._caller.subscribed = bool(self.on_close)
        if answer is None:
            self._room.release()
        else:
            self._outgoing.put_nowait((answer, self._room.release))
        self._batches -= batch
        while self._held and not self._batches:
            self._put_notification(self._held.popleft())

    async def _write(self) -> None:
        """Send answers and notifications in order."""
        while (item := await self._outgoing.get()) is not None:
            await self._dispatcher.turns.turn()  # A wire to a caller who reads fast never waits.
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
        """Count a notification of `size` bytes as sent."""
        self._unread -= size

    def _mark_slow(self) -> None:
        """Note that the session ends because its caller does not read."""
        if not self.slow:
            self.slow = True
            self._counters.add("rpc_sessions_slow")
