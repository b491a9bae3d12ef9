"""The mailserver: archives what peers send, confirms what is on disk, answers for history."""

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, field

from wakumail import mail, waku
from wakumail.archive import PageState, Query
from wakumail.completion import ZERO_HASH
from wakumail.counters import Counters
from wakumail.envelope import Batch, Verdict
from wakumail.errors import ArchiveError, PeerGone
from wakumail.limits import RateLimiter
from wakumail.mail import Completion, Dialect, Request, RequestKeys, RequestPolicy
from wakumail.node import Link, Node, NodeConfig
from wakumail.peer import EnvelopesReceived, Event, HistoryRequested, Ready
from wakumail.request import RequestError
from wakumail.store import Store

log = logging.getLogger(__name__)

MAX_PACKET = 1 << 20
"""Bytes of one P2P Messages packet: what every known client takes (1 MiB in Go)."""

VERDICT_TEXTS = {
    Verdict.VERY_OLD: "very old envelope",
    Verdict.FROM_FUTURE: "envelope from future",
}
"""The texts of status-go, for the errors of a Message Response."""


class TooManyRequests(RequestError):
    """More requests of one peer are waiting than the server keeps."""

    counter = "requests_too_many_waiting"


class RateLimited(RequestError):
    """The peer, or its address, asks more often than the operator allows."""

    counter = "requests_rate_limited"


class HistoryUnavailable(RequestError):
    """The archive could not be read."""

    counter = "requests_archive_failed"


@dataclass(frozen=True, slots=True)
class MailConfig:
    """How requests are opened, limited and answered."""

    keys: RequestKeys
    policy: RequestPolicy = field(default_factory=RequestPolicy)
    dialect: Dialect | None = None
    """Force the form of every completion; None answers in the dialect of the request."""
    max_waiting: int = 16
    """Requests of one peer that may wait for their turn."""
    requests_per_second: float = 0.0
    """Requests per second of one peer, and of one address; 0 sets no limit."""
    max_packet: int = MAX_PACKET


class Mailserver:
    """A node with an archive behind it."""

    def __init__(
        self, node: NodeConfig, config: MailConfig, store: Store, counters: Counters
    ) -> None:
        self.node = Node(node, self, counters)
        self.config = config
        self.counters = counters
        self.store = store
        self.store.on_room = self._resume
        self._limiter = RateLimiter(config.requests_per_second)
        self._waiting: dict[Link, deque[bytes]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Take nothing more, finish the commit, confirm it, say goodbye to the peers."""
        self.store.on_room = None
        self.node.quiesce()
        for task in tuple(self._answering):
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)
        await self.store.close()
        await self.node.close()

    # -- node.Handler -------------------------------------------------------------------------

    def on_event(self, link: Link, event: Event) -> None:
        """Route what a ready peer did."""
        match event:
            case Ready(hello, version):
                self.counters.add("peers_connected")
                log.debug("peer %s: %s, waku/%d", link.address, hello.client_id, version)
            case EnvelopesReceived(batch, batch_hash):
                self._archive(link, batch, batch_hash)
            case HistoryRequested(packet):
                self._enqueue(link, packet)
            case _:
                self.counters.add("packets_unasked")

    def on_gone(self, link: Link) -> None:
        """Forget what the peer was waiting for."""
        self.counters.add("requests_abandoned", len(self._waiting.pop(link, ())))

    # -- archiving ----------------------------------------------------------------------------

    def _archive(self, link: Link, batch: Batch, batch_hash: bytes) -> None:
        self.counters.add("envelopes_received", len(batch))
        for verdict, count in batch.rejections.items():
            self.counters.add(f"envelopes_{verdict.name.lower()}", count)
        if not batch.accepted:
            self._confirm(link, batch, batch_hash)
        elif self.store.overfull or (self.store.full and self.store.degraded):
            # Not confirmed, so the sender knows; to wait would keep requests from being read.
            self.counters.add("envelopes_shed", batch.accepted)
        else:
            self.store.put(batch, lambda: self._confirm(link, batch, batch_hash))
            if self.store.full and not self.store.degraded:
                self.node.hold(link)

    def _confirm(self, link: Link, batch: Batch, batch_hash: bytes) -> None:
        """Tell the peer: what was good of this batch is on disk."""
        if not batch_hash or link.closed is not None:
            return
        errors = tuple(
            waku.EnvelopeError(envelope_hash, waku.TIME_SYNC_ERROR, VERDICT_TEXTS[verdict])
            for envelope_hash, verdict in batch.errors
        )
        link.peer.confirm(batch_hash, errors)
        link.flush()
        self.counters.add("messages_confirmed")

    def _resume(self) -> None:
        """The store has room, or none for long: whoever was held is read again."""
        self.node.release(lambda: not self.store.full or bool(self.store.degraded))

    # -- answering ----------------------------------------------------------------------------

    def _enqueue(self, link: Link, packet: bytes) -> None:
        """Queue a request behind those of the same peer; one task at a time answers a peer."""
        self.counters.add("requests_received")
        waiting = self._waiting.get(link)
        if waiting is None:
            self._waiting[link] = deque((packet,))
            task = asyncio.get_running_loop().create_task(self._answer_all(link))
            self._answering.add(task)
            task.add_done_callback(self._answered)
        elif len(waiting) < self.config.max_waiting:
            waiting.append(packet)
        else:
            refusal = TooManyRequests("too many requests are waiting", mail.identify(packet))
            self._refuse(link, refusal)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answering.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("answering a peer failed", exc_info=error)

    async def _answer_all(self, link: Link) -> None:
        """Answer the requests of one peer in the order in which they came."""
        try:
            while waiting := self._waiting.get(link):
                await self._answer(link, waiting.popleft())
                await link.drain()
        except PeerGone:
            self.counters.add("requests_abandoned")
        finally:
            self.counters.add("requests_abandoned", len(self._waiting.pop(link, ())))

    async def _answer(self, link: Link, packet: bytes) -> None:
        now = time.time()
        try:
            request = mail.read_request(packet, self.config.keys, self.config.policy, int(now))
            if not self._limiter.take((link.node_id, link.address), now):
                raise RateLimited(
                    "request rate limit exceeded", request.request_id, request.dialect
                )
            completion = await self._deliver(link, request, int(now))
        except RequestError as error:
            self._refuse(link, error)
        else:
            self._complete(link, completion, request.dialect)
            self.counters.add("requests_completed")

    async def _deliver(self, link: Link, request: Request, now: int) -> Completion:
        """Send page after page; answers what completes them."""
        query = Query(
            request.lower,
            request.resolved_upper(now),
            topics=request.topics or None,
            bloom=request.bloom or None,
        )
        remaining = request.limit
        position = request.cursor
        last_hash = ZERO_HASH
        while True:
            try:
                page = await self.store.page(
                    query,
                    position,
                    limit=remaining if request.batch else min(remaining, 1),
                    max_bytes=self.config.max_packet,
                )
            except ArchiveError as error:
                log.error("a request failed: %s", error)
                text = "the archive could not be read"
                raise HistoryUnavailable(text, request.request_id, request.dialect) from error
            position = page.position
            if page.count:
                link.peer.deliver_history(page.packet)
                self.counters.add("envelopes_delivered", page.count)
                self.counters.add("bytes_delivered", len(page.packet))
                remaining -= page.count
                last_hash = page.last_hash
            if page.state is PageState.EXHAUSTED:
                return Completion(request.request_id, last_hash)
            if page.state is PageState.MORE and not remaining:
                return Completion(request.request_id, last_hash, position)
            await link.drain()

    def _refuse(self, link: Link, error: RequestError) -> None:
        """Answer a request with an error."""
        self.counters.add("requests_failed")
        self.counters.add(error.counter)
        log.debug("peer %s: request refused: %s", link.address, error)
        completion = Completion(error.request_id, error=str(error))
        self._complete(link, completion, error.dialect or Dialect.BYTES)

    def _complete(self, link: Link, completion: Completion, dialect: Dialect) -> None:
        link.peer.complete_history(completion.encode(self.config.dialect or dialect))
        link.flush()
