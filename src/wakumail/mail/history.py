"""History: answers the P2P Requests of peers from the archive, page after page."""

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass

from wakumail.archive.archive import PageState, Query
from wakumail.archive.results import Page
from wakumail.archive.store import Store
from wakumail.base.histograms import ANSWER_BYTES, SECONDS, Histogram
from wakumail.base.rlp import join_list, split_list
from wakumail.base.tasks import end_tasks
from wakumail.base.token_bucket import RateLimiter
from wakumail.counters import Counters
from wakumail.errors import ArchiveError, DisconnectReason, PeerGone, ProtocolError
from wakumail.mail.request import (
    Request,
    RequestError,
    RequestFormError,
    RequestKeys,
    RequestPolicy,
    identify,
    named_id,
    read_request,
)
from wakumail.node.link import Link
from wakumail.waku.completion import ZERO_HASH, Completion, CompletionForm
from wakumail.waku.packets import MAX_REFUSED_REQUEST, MAX_REQUEST_SIZE

log = logging.getLogger(__name__)

MAX_WAITING_BYTES = MAX_REQUEST_SIZE
"""Bytes of requests of one peer that may wait for their turn. A usual request has some hundred."""

MAX_EACH = 1 << 20
"""Bytes of envelopes that leave together in packets of one each. The frames of the smallest ones
take six times as much, which is less than a peer may leave unread."""


class TooManyRequests(RequestError):
    """More requests of one peer are waiting than the server keeps."""

    counter = "requests_too_many_waiting"


class RequestTooLarge(ProtocolError):
    """A request of more than 128 KiB that does not name its id at its start."""

    counter = "request_too_large"
    reason = DisconnectReason.SUBPROTOCOL_ERROR


class RateLimited(RequestError):
    """The peer, or its address, asks more often than the operator allows."""

    counter = "requests_rate_limited"


class NoArchive(RequestError):
    """This node keeps no archive."""

    counter = "requests_no_archive"


class HistoryUnavailable(RequestError):
    """The archive could not be read."""

    counter = "requests_archive_failed"


@dataclass(frozen=True, slots=True)
class MailConfig:
    """Says which keys open requests, which limits they have and how they are answered."""

    keys: RequestKeys
    policy: RequestPolicy
    completion: CompletionForm | None
    """The form of every completion; None answers each request in the form that fits it."""
    max_waiting: int
    """Requests of one peer that may wait for their turn."""
    request_rate: float
    """Requests per second of one peer, and of one address; 0 = no limit."""


class History:
    """Answers requests: those of one peer in order, those of different peers side by side.

    `max_reply` limits the bytes of a P2P Messages packet.
    """

    def __init__(
        self, config: MailConfig, store: Store, counters: Counters, *, max_reply: int
    ) -> None:
        self.config = config
        self.answer_seconds = Histogram(SECONDS)
        """Seconds from a request's turn to its completion."""
        self.answer_bytes = Histogram(ANSWER_BYTES)
        """Bytes of all packets of an answer."""
        self.read_seconds = Histogram(SECONDS)
        """Seconds to read a page from the archive."""
        self.send_seconds = Histogram(SECONDS)
        """Seconds until the peer has room for the next page."""
        self._max_reply = max_reply
        self._store = store
        self._counters = counters
        self._limiter = RateLimiter(config.request_rate)
        self._waiting: dict[Link, deque[bytes]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    def configure(self, config: MailConfig) -> None:
        """Answer later requests by another configuration."""
        if config.request_rate != self.config.request_rate:
            self._limiter = RateLimiter(config.request_rate)
        self.config = config

    async def close(self) -> None:
        """Stop answering, in the middle of answers too."""
        await end_tasks(self._answering)

    def request(self, link: Link, packet: bytes) -> None:
        """Queue a request behind those of the same peer; one task at a time answers a peer."""
        self._counters.add("requests_received")
        waiting = self._waiting.get(link)
        if len(packet) > MAX_REQUEST_SIZE:
            # Refused at once: it would take memory in the queue while the peer reads slowly.
            _refuse_at_once(
                link, too_large(identify(packet)), self._counters, self.config.completion
            )
        elif waiting is None:
            self._waiting[link] = deque((packet,))
            task = asyncio.get_running_loop().create_task(self._answer_all(link))
            self._answering.add(task)
            task.add_done_callback(self._answered)
        elif self._has_room(waiting, packet):
            waiting.append(packet)
        else:
            refusal = TooManyRequests("too many requests are waiting", identify(packet))
            _refuse_at_once(link, refusal, self._counters, self.config.completion)

    def refuse_oversized(self, link: Link, start: bytes) -> None:
        """Refuse a request of more than MAX_REFUSED_REQUEST bytes, of which only `start` was read.

        RequestTooLarge, which ends the connection, if its id would have to be computed.
        """
        self._counters.add("requests_received")
        request_id = named_id(start)
        if request_id is None:
            self._counters.add("requests_failed")
            raise RequestTooLarge(f"a request of more than {MAX_REFUSED_REQUEST} bytes")
        _refuse_at_once(link, too_large(request_id), self._counters, self.config.completion)

    def _has_room(self, waiting: deque[bytes], packet: bytes) -> bool:
        size = sum(map(len, waiting)) + len(packet)
        return len(waiting) < self.config.max_waiting and size <= MAX_WAITING_BYTES

    def leave(self, link: Link) -> None:
        """Forget the waiting requests of a peer that is gone."""
        self._counters.add("requests_abandoned", len(self._waiting.pop(link, ())))

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answering.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("answering a peer failed", exc_info=error)

    async def _answer_all(self, link: Link) -> None:
        """Answer the requests of one peer in the order in which they came."""
        try:
            while waiting := self._waiting.get(link):
                packet = waiting.popleft()
                await link.outbox.drain_and_pace()
                await self._answer(link, packet)
        except PeerGone:
            self._counters.add("requests_abandoned")
        finally:
            self._counters.add("requests_abandoned", len(self._waiting.pop(link, ())))

    async def _answer(self, link: Link, packet: bytes) -> None:
        now = time.time()
        started = time.monotonic()
        try:
            request = read_request(packet, self.config.keys, self.config.policy, int(now))
            if not self._limiter.take((link.node_id, link.host), now):
                raise RateLimited(
                    "request rate limit exceeded", request.request_id, request.completion_form
                )
            completion = await self._deliver(link, request, int(now))
        except RequestError as error:
            refusal = _refusal(error, self.config.completion)
            await link.outbox.pace(len(refusal))
            _count_refusal(link, error, self._counters)
            _complete(link, refusal)
        else:
            payload = completion.encode(self.config.completion or request.completion_form)
            await link.outbox.pace(len(payload))
            _complete(link, payload)
            self._counters.add("requests_completed")
            self.answer_seconds.add(time.monotonic() - started)

    async def _deliver(self, link: Link, request: Request, now: int) -> Completion:
        """Send page after page and return the completion."""
        self._count_query(request)
        query = Query(
            request.lower,
            request.resolved_upper(now),
            topics=request.topics or None,
            bloom=request.bloom or None,
        )
        max_reply = self._max_reply if request.batch else min(self._max_reply, MAX_EACH)
        remaining = request.limit
        position = request.cursor
        last_hash = ZERO_HASH
        size = 0
        while True:
            began = time.monotonic()
            try:
                page = await self._store.pages.read(
                    query,
                    position,
                    limit=remaining,
                    max_bytes=min(max_reply, link.peer.limits.burst or max_reply),
                )
            except ArchiveError as error:
                log.error("a request failed: %s", error)
                text = "the archive could not be read"
                raise HistoryUnavailable(
                    text, request.request_id, request.completion_form
                ) from error
            self.read_seconds.add(time.monotonic() - began)
            position = page.position
            remaining -= page.count
            if page.count:
                last_hash = page.last_hash
                if request.batch:
                    if link.peer.limits.is_limited:  # another packet may have left meanwhile
                        await link.outbox.pace(size=len(page.packet))
                    size += self._send(link, page.packet, page.count)
                else:
                    size += await self._send_each(link, page)
            if page.state is PageState.EXHAUSTED:
                position = b""
            elif page.state is PageState.PAUSED or remaining:
                began = time.monotonic()
                await link.outbox.drain_and_pace()
                self.send_seconds.add(time.monotonic() - began)
                continue
            self.answer_bytes.add(size)
            return Completion(request.request_id, last_hash, position)

    def _send(self, link: Link, packet: bytes, envelopes: int) -> int:
        """Send a P2P Messages packet; return its bytes."""
        link.peer.deliver_history(packet)
        return self._count_delivered(envelopes, len(packet))

    async def _send_each(self, link: Link, page: Page) -> int:
        """Send each envelope of a page in a packet of its own; return the bytes of all packets."""
        if not link.peer.limits.is_limited:
            return self._count_delivered(page.count, link.peer.deliver_each(page.packet))
        size = 0
        for envelope in split_list(page.packet):
            packet = join_list([envelope])
            await link.outbox.pace(size=len(packet))
            size += self._send(link, packet, 1)
        return size

    def _count_delivered(self, envelopes: int, size: int) -> int:
        self._counters.add("envelopes_delivered", envelopes)
        self._counters.add("bytes_delivered", size)
        return size

    def _count_query(self, request: Request) -> None:
        kind = "topics" if request.topics else "bloom"
        self._counters.add(f"queries_{kind}_cursor" if request.cursor else f"queries_{kind}")
        self._counters.add("requests_batched", request.batch)


def turn_away(link: Link, packet: bytes, counters: Counters) -> None:
    """Answer a request of a node without an archive with an error, so that its sender goes on."""
    counters.add("requests_received")
    _refuse_at_once(link, NoArchive("this node keeps no archive", identify(packet)), counters)


def _refuse_at_once(
    link: Link, error: RequestError, counters: Counters, form: CompletionForm | None = None
) -> None:
    """Count a refusal, and answer it unless the peer's rate limits forbid one more packet."""
    _count_refusal(link, error, counters)
    refusal = _refusal(error, form)
    if link.peer.limits.has_room(asyncio.get_running_loop().time(), len(refusal)):
        _complete(link, refusal)


def _refusal(error: RequestError, form: CompletionForm | None = None) -> bytes:
    """The payload of a completion with an error: in this form, or in that of its speakers."""
    completion = Completion(error.request_id, error=str(error))
    return completion.encode(form or error.completion_form or CompletionForm.BYTES)


def _count_refusal(link: Link, error: RequestError, counters: Counters) -> None:
    counters.add("requests_failed")
    counters.add(error.counter)
    log.debug("peer %s: request refused: %s", link.address, error)


def _complete(link: Link, payload: bytes) -> None:
    link.peer.complete_history(payload)
    link.outbox.flush()


def too_large(request_id: bytes) -> RequestFormError:
    """The refusal of a request of more than MAX_REQUEST_SIZE bytes."""
    return RequestFormError(f"a request of more than {MAX_REQUEST_SIZE} bytes", request_id)
