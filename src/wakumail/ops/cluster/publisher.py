"""The publisher: batches of our own, sent to the log as messages until it has them."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wakumail.archive.commit_queue import QueuedBatch
from wakumail.base.tasks import end_tasks
from wakumail.counters import Counters
from wakumail.ops.cluster import log_message
from wakumail.ops.cluster.log_errors import LogUnavailable
from wakumail.ops.cluster.log_message import MAX_STREAM, pack, split
from wakumail.waku.envelope import Batch

if TYPE_CHECKING:
    from wakumail.ops.cluster.log import Log

MAX_IN_FLIGHT = 8
"""Messages that may be unacknowledged."""

FULL_MESSAGE = 64 << 10
"""Bytes over which a message does not wait for more envelopes."""

LINGER = 0.005
"""Seconds that a message waits for more envelopes while others are in flight."""

RETRY_INTERVAL = 0.5
"""Seconds until a message that the log did not take is sent again."""


@dataclass(slots=True, eq=False)
class OwnMessage:
    """A message of our own."""

    number: int
    """Its place among our messages."""
    entries: list[QueuedBatch] = field(default_factory=list)
    """The batches that it ends; those without an accepted envelope too."""
    streams: list[bytes] = field(default_factory=list)
    """Its envelopes, until it is sent."""
    size: int = 0
    """Bytes of the streams."""
    memory: int = 0
    """Bytes of memory of the entries."""
    is_part: bool = False
    """True if its envelopes belong to a batch that does not end with it."""
    payload: bytes = b""
    id: str = ""
    reported: bool = False
    """True once the log has it and all of ours before it, and its batches went to the archive."""


class Publisher:
    """Sends batches to the log, MAX_IN_FLIGHT messages at a time.

    on_acknowledged: called with each message and its sequence once the log has it. has_passed: True
    for a sequence that can be no new one. The log that gives it to a new message is another one:
    nothing more is sent until somebody says `go`.
    """

    def __init__(
        self,
        log: "Log",
        counters: Counters,
        on_acknowledged: Callable[[OwnMessage, int], None],
        has_passed: Callable[[int], bool],
    ) -> None:
        self.waits_since = 0.0
        """The time at which the log last took something, or something began to wait for it
        (time.monotonic)."""
        self.failure = ""
        """The first reason for which the log has not taken a message since it last took one."""
        self._log = log
        self._counters = counters
        self._on_acknowledged = on_acknowledged
        self._has_passed = has_passed
        self._loop = asyncio.get_running_loop()
        self._newest = OwnMessage(0, reported=True)
        self._waiting: deque[OwnMessage] = deque()
        self._flight: dict[str, OwnMessage] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None
        self._open = asyncio.Event()

    @property
    def waits(self) -> bool:
        """True if there are messages that the log does not have yet."""
        return bool(self._waiting or self._flight)

    @property
    def newest(self) -> OwnMessage:
        """The message that was begun last. If it is reported, so are all."""
        return self._newest

    def go(self, *, on: bool) -> None:
        """Begin to send, or send nothing more for now."""
        if on:
            self._open.set()
            self._send_soon(0.0)
        else:
            self._open.clear()

    def put(self, batch: Batch, done: Callable[[], None]) -> None:
        """Send the accepted envelopes of a batch; `done` goes with the message that ends it.

        A batch without any goes with the last message, for its duplicates may be in it. There has
        to be one that is not reported.
        """
        if not self.waits:
            self.waits_since = time.monotonic()
        message = self._fill(batch) if batch.accepted else self._newest
        message.entries.append((batch, done))
        message.memory += batch.memory
        self._send_soon(0.0 if not self._flight or message.size >= FULL_MESSAGE else LINGER)

    def recognise(self, message_id: str, sequence: int) -> bool:
        """Take a message that was read from the log for acknowledged, if it is our own."""
        message = self._flight.get(message_id)
        if message is not None:
            self._acknowledge(message, sequence)
        return message is not None

    async def close(self) -> None:
        """Send no more."""
        self._open.clear()
        await end_tasks(self._tasks)
        if self._timer is not None:
            self._timer.cancel()

    def _fill(self, batch: Batch) -> OwnMessage:
        """Add the envelopes of a batch to the last message that waits, or to new ones."""
        size = batch.accepted_size
        streams = [batch.stream()] if size <= MAX_STREAM else split(batch)
        for place, stream in enumerate(streams):
            last = self._newest
            if not self._waiting or last.is_part or last.size + len(stream) > MAX_STREAM:
                last = self._newest = OwnMessage(last.number + 1)
                self._waiting.append(last)
            last.streams.append(stream)
            last.size += len(stream)
            last.is_part = place + 1 < len(streams)
        return self._newest

    def _send_soon(self, delay: float) -> None:
        timer = self._timer
        if timer is not None and not timer.cancelled():
            if delay or not isinstance(timer, asyncio.TimerHandle):
                return
            timer.cancel()
        self._timer = (
            self._loop.call_later(delay, self._send) if delay else self._loop.call_soon(self._send)
        )

    def _send(self) -> None:
        self._timer = None
        while self._open.is_set() and self._waiting and len(self._flight) < MAX_IN_FLIGHT:
            message = self._waiting.popleft()
            message.payload = pack(message.streams)
            message.id = log_message.message_id(message.payload)
            message.streams = []
            if message.id in self._flight:
                # The same envelopes again: they are acknowledged together.
                message.id += f"-{message.number}"
            self._flight[message.id] = message
            task = self._loop.create_task(self._publish(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _publish(self, message: OwnMessage) -> None:
        """Send a message until the log has it."""
        while message.id in self._flight:
            await self._open.wait()
            try:
                taken = await self._log.publish(message.payload, message.id)
            except LogUnavailable as error:
                self.failure = self.failure or str(error)
                self._counters.add("cluster_publishes_failed")
                await asyncio.sleep(RETRY_INTERVAL)
                continue
            if message.id not in self._flight:
                return
            if self._has_passed(taken.sequence) and not taken.duplicate:
                self.go(on=False)
                continue
            self._acknowledge(message, taken.sequence)

    def _acknowledge(self, message: OwnMessage, sequence: int) -> None:
        del self._flight[message.id]
        self.waits_since, self.failure = time.monotonic(), ""
        self._counters.add("cluster_messages_published")
        self._on_acknowledged(message, sequence)
        self._send_soon(0.0)
