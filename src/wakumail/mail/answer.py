"""The answer to one request for history, as the client takes it in: bounded by what was asked."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wakumail.errors import DisconnectReason, ProtocolError, WakumailError
from wakumail.mail.request import MAX_LIMIT
from wakumail.node.messages import Key, ReceivedMessage, open_envelopes
from wakumail.waku.completion import Completion
from wakumail.waku.envelope import Batch, Envelope
from wakumail.waku.interest import Interest

ANSWER_TIMEOUT = 30.0
"""Seconds without a packet of the answer after which a request is given up, unless told otherwise
(Status clients use 30)."""

MAX_PAGE_BYTES = 256 << 20
"""Envelope bytes that the answer to one request may have."""

PATIENCE = 10
"""Times the timeout that an answer may take, however steadily its envelopes trickle in."""


class Overdelivery(ProtocolError):
    """A mailserver sent more than it was asked for."""

    counter = "history_over_limit"
    reason = DisconnectReason.SUBPROTOCOL_ERROR


class RequestRefused(WakumailError):
    """The mailserver answered the request with an error; the text is its own."""

    counter = "requests_refused"


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """The answer to one request."""

    envelopes: tuple[Envelope, ...]
    """What was asked for, in the order of the mailserver (newest first)."""
    messages: tuple[ReceivedMessage | None, ...]
    """What the given keys opened: one for each envelope, None where no key did."""
    foreign: int
    """How many envelopes were dropped because the request did not ask for them, or they are
    larger than any node takes."""
    request_id: bytes
    last_hash: bytes
    cursor: bytes
    """Where the next page begins; empty when this was the last. Of use to this mailserver only."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for: times inclusive, Unix seconds; topics win over the bloom."""

    lower: int
    upper: int
    topics: tuple[bytes, ...] = ()
    bloom: bytes = b""
    limit: int = MAX_LIMIT

    def select(self, batch: Batch) -> Iterator[Envelope]:
        """The envelopes in a batch that were asked for."""
        interest = Interest(topics=self.topics or None, bloom=self.bloom or None)
        for envelope in map(batch.__getitem__, batch.select(interest)):
            if self.lower <= envelope.created <= self.upper:
                yield envelope


class Answer:
    """The answer to one request while it comes in; `timeout` (seconds) is for each silence."""

    def __init__(self, wanted: Wanted, request_id: bytes, timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.request_id = request_id
        self.completed: asyncio.Future[Completion] = self._loop.create_future()
        self.deadline = asyncio.timeout(timeout)
        self._wanted = wanted
        self._timeout = timeout
        self._latest = self._loop.time() + PATIENCE * timeout
        self._batches: list[Batch] = []
        self.count = 0
        """Envelopes that came."""
        self._size = 0

    def add(self, batch: Batch) -> None:
        """Take a packet of envelopes; Overdelivery when it is too much."""
        self.count += len(batch)
        self._size += len(batch.raw)
        if self.count > self._wanted.limit:
            raise Overdelivery(f"more than the {self._wanted.limit} envelopes asked for")
        if self._size > MAX_PAGE_BYTES:
            raise Overdelivery(f"more than {MAX_PAGE_BYTES} bytes in answer to one request")
        if not len(batch):
            return
        self._batches.append(batch)
        self.deadline.reschedule(min(self._loop.time() + self._timeout, self._latest))

    async def page(self, completion: Completion, keys: Sequence[Key]) -> HistoryPage:
        """What came, less what was not asked for, opened with `keys`."""
        wanted = tuple(e for batch in self._batches for e in self._wanted.select(batch))
        return HistoryPage(
            wanted,
            await open_envelopes(wanted, keys),
            self.count - len(wanted),
            completion.request_id,
            completion.last_hash,
            completion.cursor,
        )
