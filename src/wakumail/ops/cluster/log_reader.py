"""The reader: everything of the log that is not our own, and what a server has left out."""

import asyncio
import logging
import time

from wakumail.counters import Counters
from wakumail.ops.cluster.intake import Intake
from wakumail.ops.cluster.log import Log, LogMessage
from wakumail.ops.cluster.log_errors import LogRefused, LogUnavailable
from wakumail.ops.cluster.publisher import Publisher
from wakumail.waku.envelope import Batch

log = logging.getLogger(__name__)

READ_MESSAGES = 256
READ_BYTES = 4 << 20
"""Bounds of one read: its messages are in memory together."""

POLL_INTERVAL = 0.5
"""Seconds to the next read if nobody tells of a message."""

READ_REST = 0.1
"""Seconds from one read to the next, unless it was full. More messages then share a read, and a
commit."""

LATE = 1.0
"""Seconds after which a message that the log is known to have is asked for at every server."""

TRIES = 16
"""Reads of one message that any server may answer. One of three servers is left out by all of them
with a probability of 0.2 %; holes are tried again."""

MENDED_TOGETHER = 64
"""Messages of one hole that are asked for one by one in one go."""

MEND_INTERVAL = 15.0
"""Seconds between two tries to fill the holes from the log."""

MAX_HOLES = 1000
"""Holes over which nothing more is read."""


class LogReader:
    """Reads the log, from behind the place of the intake on."""

    def __init__(self, log: Log, intake: Intake, publisher: Publisher, counters: Counters) -> None:
        self.first = 1
        """The first sequence that the log still has."""
        self.last = 0
        """The last sequence that the log is known to have."""
        self.refusal = ""
        """The reason for which the log cannot be read on; empty if it can."""
        self.is_on = True
        """False while the log may be another one: nothing is read then."""
        self._log = log
        self._intake = intake
        self._order = intake.order
        self._publisher = publisher
        self._counters = counters
        self._woken = asyncio.Event()
        self._came = time.monotonic()
        """The time at which a message last came, or nothing was wanted (time.monotonic)."""
        self._mended = time.monotonic()

    @property
    def lag(self) -> int:
        """Messages that the log has and that have not been read here."""
        return max(0, self.last - self._order.head)

    def notice(self, sequence: int) -> None:
        """Take note that the log has a message."""
        if sequence > self.last:
            self.last = sequence
        if self.lag:
            self._woken.set()

    async def run(self) -> None:
        """Read on until cancelled, or the log turns out to be another one."""
        while not self.refusal:
            began = time.monotonic()
            self._woken.clear()
            messages: list[LogMessage] = []
            try:
                if self.is_on:
                    messages = await self._read()
                    await self._mend()
            except LogUnavailable as error:
                self._counters.add(error.counter)
            except LogRefused as error:
                self.refusal = str(error)
            if is_full(messages):
                continue
            if messages or (self.lag and self.is_on):
                await asyncio.sleep(max(0.0, began + READ_REST - time.monotonic()))
            else:
                try:
                    async with asyncio.timeout(POLL_INTERVAL):
                        await self._woken.wait()
                except TimeoutError:
                    pass

    async def _read(self) -> list[LogMessage]:
        """Read once, and store what came."""
        if len(self._order.holes) >= MAX_HOLES:
            return []
        await self._intake.room()
        messages = await self._log.read(
            self._order.head + 1, limit=READ_MESSAGES, max_bytes=READ_BYTES
        )
        batches: list[Batch | None] = []
        for message in messages:
            known = self._publisher.recognise(message.id, message.sequence)
            if known or self._order.has(message.sequence):
                batches.append(None)
            else:
                batches.append(self._intake.envelopes(message))
                await asyncio.sleep(0)
        # They are stored in one step of the loop, so that they share a commit.
        for message, batch in zip(messages, batches, strict=True):
            await self._take(message, batch)
        if messages or not self.lag:
            self._came = time.monotonic()
        return messages

    async def _take(self, message: LogMessage, batch: Batch | None) -> None:
        """Store a message with its envelopes (None: we have it), and ask for those left out."""
        self.last = max(self.last, message.sequence)
        if message.sequence > self._order.head + 1:
            await self._ask_all(message.sequence - 1)
        if batch is not None and message.sequence <= self._order.head + 1:
            self._intake.read(message, batch)

    async def _mend(self) -> None:
        """Ask all servers for what is late, and now and then for what is in holes."""
        now = time.monotonic()
        if self.lag and now - self._came > LATE:
            await self._ask_all(self._order.head + 1)
            self._came = time.monotonic()
        if self._order.holes and now - self._mended > MEND_INTERVAL:
            self._mended = now
            await self._bounds()
            for hole in tuple(self._order.holes):
                begin = max(hole.first, self.first)
                for sequence in range(begin, min(hole.last + 1, begin + MENDED_TOGETHER)):
                    await self._ask(sequence)

    async def _ask_all(self, last: int) -> None:
        """Ask all servers for the messages up to `last`; leave out those that none has."""
        await self._bounds()
        if self._order.head + 1 < self.first:
            self._intake.leave_out(self.first - 1)
        last = min(last, self._order.head + MENDED_TOGETHER, self.last)
        while self._order.head < last:
            sequence = self._order.head + 1
            if not await self._ask(sequence) and self._order.head + 1 == sequence:
                log.warning("no server of the log has message %d", sequence)
                self._counters.add("cluster_messages_missing")
                self._intake.leave_out(sequence)

    async def _ask(self, sequence: int) -> bool:
        """Ask the leader, then all servers, for one message; True if it came."""
        found = await self._log.read_from_leader(sequence)
        tries = 0
        while found is None and tries < TRIES:
            found = await self._log.read_one(sequence)
            tries += 1
        if found is None:
            return False
        self._counters.add("cluster_messages_mended")
        if not self._publisher.recognise(found.id, sequence):
            self._intake.read(found, self._intake.envelopes(found))
        return True

    async def _bounds(self) -> None:
        """Ask the leader which sequences the log has."""
        state = (await self._log.ask(f"STREAM.INFO.{self._log.name}")).get("state")
        if state is None:
            raise LogUnavailable("the stream is not there")
        self.first, self.last = int(state["first_seq"]), int(state["last_seq"])


def is_full(messages: list[LogMessage]) -> bool:
    """True if a read ended at its bounds, so that there is probably more."""
    size = sum(len(message.data) for message in messages)
    return len(messages) == READ_MESSAGES or size > READ_BYTES // 2
