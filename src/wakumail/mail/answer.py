"""The answer to one request for history, as the client receives it: bounded by the request."""

import asyncio
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from wakumail.base.text import counted
from wakumail.devp2p.keys import PrivateKey
from wakumail.errors import DisconnectReason, ProtocolError, WakumailError
from wakumail.mail.request import MAX_LIMIT, UPPER_MARGIN, check_fields
from wakumail.node.messages import Key, ReceivedMessage, open_envelopes
from wakumail.waku.completion import Completion
from wakumail.waku.envelope import Batch, Envelope
from wakumail.waku.interest import Interest
from wakumail.waku.message import checked_key

ANSWER_TIMEOUT = 30.0
"""Default seconds of silence after which a mailserver is given up (Status clients use 30)."""

MAX_PAGE_BYTES = 64 << 20
"""Envelope bytes that the answer to one request may have, however many envelopes it asked for."""

MAX_ENVELOPE = 1 << 20
"""Bytes of an envelope. Larger ones are left out of a page."""

PACKET_OVERHEAD = 1 << 20
"""Bytes that an answer may have beside its envelopes of MAX_ENVELOPE: one may be a bit larger."""

MAX_TIMEOUTS = 10
"""Limits the time of a whole answer, in timeouts, however steadily its envelopes trickle in. It
limits the time too that the pages of a history lose (see HistoryProgress)."""


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
    """The envelopes that the request asked for, in the mailserver's order (newest first)."""
    messages: tuple[ReceivedMessage | None, ...]
    """The opened message of each envelope, in the same order; None where no key opens it."""
    foreign: int
    """Number of envelopes that were dropped: the request did not ask for them, or they are larger
    than any node takes."""
    request_id: bytes
    """32 bytes: the request's id in the protocol."""
    last_hash: bytes
    """32 bytes: the hash of the envelope that was sent last; zeros when none was."""
    cursor: bytes
    """The start of the next page; empty on the last page. Only this mailserver understands it."""
    repeated: int = 0
    """Number of envelopes that were dropped because they had come before in the same history."""

    def without(self, seen: Collection[bytes]) -> Self:
        """The page less the envelopes whose hashes are in `seen`, which count as repeated."""
        fresh = [n for n, envelope in enumerate(self.envelopes) if envelope.hash not in seen]
        if len(fresh) == len(self.envelopes):
            return self
        return replace(
            self,
            envelopes=tuple(self.envelopes[n] for n in fresh),
            messages=tuple(self.messages[n] for n in fresh),
            repeated=self.repeated + len(self.envelopes) - len(fresh),
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """The envelopes that a request asks for. Topics win over the bloom.

    ValueError for a field of a wrong size, and for neither topics nor a bloom; TypeError for one of
    a wrong type.
    """

    lower: int
    """Unix seconds, inclusive."""
    upper: int
    """Unix seconds, inclusive."""
    topics: tuple[bytes, ...] = ()
    """4 bytes each, at most MAX_REQUEST_TOPICS."""
    bloom: bytes = b""
    """64 bytes, or none."""
    limit: int = MAX_LIMIT
    """Envelopes of one answer, at least 1."""

    @classmethod
    def of(
        cls, lower: int, upper: int | None, topics: Iterable[bytes], bloom: bytes, limit: int
    ) -> Self:
        """The same from a caller's arguments; `upper` None is UPPER_MARGIN after now."""
        if upper is None:
            upper = int(time.time()) + UPPER_MARGIN
        return cls(lower, upper, tuple(topics), bloom, limit)

    def __post_init__(self) -> None:
        check_fields(
            lower=self.lower,
            upper=self.upper,
            limit=self.limit,
            topics=self.topics,
            bloom=self.bloom,
        )
        if self.limit < 1:
            raise ValueError("limit is at least 1")
        if not self.topics and not self.bloom:
            raise ValueError("neither topics nor a bloom")

    def select(self, batch: Batch) -> Iterator[Envelope]:
        """The envelopes in a batch that were asked for."""
        interest = Interest(topics=self.topics or None, bloom=self.bloom or None)
        for envelope in map(batch.__getitem__, batch.select(interest)):
            if self.lower <= envelope.created <= self.upper:
                yield envelope


def check_keys(keys: Sequence[Key]) -> None:
    """TypeError for a key of a wrong type, ValueError for a symmetric key of a wrong size."""
    for key in keys:
        if isinstance(key, bytes):
            checked_key(key)
        elif not isinstance(key, PrivateKey):
            raise TypeError(f"a key is bytes or a PrivateKey, not {type(key).__name__}")


class Answer:
    """The answer to one request while it comes in; `timeout` (seconds) limits each silence."""

    def __init__(self, wanted: Wanted, request_id: bytes, timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.request_id = request_id
        self.completed: asyncio.Future[Completion] = self._loop.create_future()
        self._deadline: asyncio.Timeout | None = None
        """The deadline of the running `wait`."""
        self._wanted = wanted
        self._timeout = timeout
        self._began = self._loop.time()
        self._latest = self._began + MAX_TIMEOUTS * timeout
        self._batches: deque[Batch] = deque()
        self._is_abandoned = False
        self.count = 0
        """Number of envelopes that came."""
        self.room = min(MAX_PAGE_BYTES, wanted.limit * MAX_ENVELOPE + PACKET_OVERHEAD)
        """Bytes that may still come."""

    @property
    def age(self) -> float:
        """Seconds since the request was ready to be sent."""
        return self._loop.time() - self._began

    def add(self, batch: Batch) -> None:
        """Take a packet of envelopes; Overdelivery when it is too much."""
        self.count += len(batch)
        self.room -= len(batch.raw)
        if self.count > self._wanted.limit:
            raise Overdelivery(f"more than the {counted(self._wanted.limit, 'envelope')} asked for")
        if self.room < 0:
            raise Overdelivery("too many bytes in answer to one request; try a lower limit")
        if not len(batch):
            return
        if not self._is_abandoned:
            self._batches.append(batch)
        if self._deadline is not None:
            self._deadline.reschedule(min(self._loop.time() + self._timeout, self._latest))

    def abandon(self) -> None:
        """Drop what has come and what still comes: nobody wants the page."""
        self._is_abandoned = True
        self._batches.clear()

    def fail(self, error: Exception) -> None:
        """End `wait` with an error: the completion will not come."""
        if not self.completed.done():
            self.completed.set_exception(error)
            self.completed.exception()  # retrieved, or asyncio logs that nobody did

    async def wait(self) -> Completion:
        """The completion. TimeoutError after `timeout` of silence, or the error given to `fail`.

        Cancelling it does not change the answer, which may be waited for again.
        """
        try:
            async with asyncio.timeout(self._timeout) as self._deadline:
                return await asyncio.shield(self.completed)
        finally:
            self._deadline = None

    async def page(self, completion: Completion, keys: Sequence[Key]) -> HistoryPage:
        """The envelopes that came and were asked for, each once, opened with `keys`."""
        wanted: dict[bytes, Envelope] = {}
        count = 0
        while self._batches:  # a batch is freed once its envelopes are taken out
            for envelope in self._wanted.select(self._batches.popleft()):
                count += 1
                wanted.setdefault(envelope.hash, envelope)
        envelopes = tuple(wanted.values())
        return HistoryPage(
            envelopes,
            await open_envelopes(envelopes, keys),
            self.count - count,
            completion.request_id,
            completion.last_hash,
            completion.cursor,
            repeated=count - len(envelopes),
        )
