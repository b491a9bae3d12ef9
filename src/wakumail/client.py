"""The mail client: asks a mailserver for history, posts envelopes, trusts only whom it asked.

    async with connect(enode) as peer:
        async for page in peer.history(topics=[topic], lower=since):
            for envelope in page.envelopes:
                ...

A mailserver may send expired envelopes, so what it sends is bounded and checked: only while a
request is open, only what that request asked for, no more than it asked for.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from wakumail import keys, mail, waku
from wakumail.bloom import BLOOM_SIZE, covers
from wakumail.connection import ConnectionConfig
from wakumail.counters import Counters
from wakumail.devp2p import WAKU, Hello
from wakumail.enode import Enode
from wakumail.envelope import Batch, Envelope
from wakumail.errors import DisconnectReason, PeerGone, ProtocolError, WakumailError
from wakumail.keccak import keccak256, keccak256_many
from wakumail.keys import PrivateKey, public_key
from wakumail.mail import Completion, Form
from wakumail.message import DEFAULT_PASSWORD, symmetric_key
from wakumail.node import Link, Node, NodeConfig, describe
from wakumail.peer import (
    Confirmed,
    EnvelopesReceived,
    Event,
    HistoryCompleted,
    HistoryDelivered,
    Ready,
)
from wakumail.rlp import join_list
from wakumail.version import CLIENT_ID
from wakumail.waku import StatusOptions

CONNECT_TIMEOUT = 10.0
"""Seconds from the first SYN to the peer's status."""

ANSWER_TIMEOUT = 30.0
"""Seconds without an envelope after which a request is given up (Status clients use 30), or for
the confirmations of what was posted."""

MAX_EMPTY_PAGES = 100
"""Pages in a row without an envelope that was asked for, but with a cursor."""

MAX_PAGE_BYTES = 256 << 20
"""Envelope bytes that the answer to one request may have."""

MAX_POST_PACKET = 1 << 20
"""Bytes of one Messages packet that is posted."""


Errors = tuple[waku.EnvelopeError, ...]


class Overdelivery(ProtocolError):
    """A mailserver sent more than it was asked for."""

    counter = "history_over_limit"
    reason = DisconnectReason.SUBPROTOCOL_ERROR


class AnswerTimeout(WakumailError):
    """The mailserver fell silent before a request was complete, or envelopes confirmed."""

    counter = "requests_timed_out"


class RequestRefused(WakumailError):
    """The mailserver answered the request with an error; the text is its own."""

    counter = "requests_refused"


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """The answer to one request."""

    envelopes: tuple[Envelope, ...]
    """What was asked for, in the order of the mailserver (newest first)."""
    foreign: int
    """How many envelopes were dropped because the request did not ask for them."""
    request_id: bytes
    last_hash: bytes
    cursor: bytes
    """Where the next page begins; empty when this was the last."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for: times inclusive, Unix seconds; topics win over the bloom."""

    lower: int
    upper: int
    topics: tuple[bytes, ...] = ()
    bloom: bytes = b""
    limit: int = mail.MAX_LIMIT

    def matches(self, envelope: Envelope) -> bool:
        """Whether this envelope was asked for."""
        if not self.lower <= envelope.created <= self.upper:
            return False
        if self.topics:
            return envelope.topic in self.topics
        return not self.bloom or covers(self.bloom, envelope.topic)


class Answer:
    """The answer to one request while it comes in, bounded by what was asked."""

    def __init__(self, wanted: Wanted, request_id: bytes) -> None:
        self.request_id = request_id
        self.completed: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self.timeout = asyncio.timeout(ANSWER_TIMEOUT)
        self._wanted = wanted
        self._batches: list[Batch] = []
        self._count = 0
        self._size = 0

    def add(self, batch: Batch) -> None:
        """Take a packet of envelopes; Overdelivery when it is too much."""
        self._count += len(batch)
        self._size += len(batch.raw)
        if self._count > self._wanted.limit:
            raise Overdelivery(f"more than the {self._wanted.limit} envelopes asked for")
        if self._size > MAX_PAGE_BYTES:
            raise Overdelivery(f"more than {MAX_PAGE_BYTES} bytes in answer to one request")
        if not len(batch):
            return
        self._batches.append(batch)
        self.timeout.reschedule(asyncio.get_running_loop().time() + ANSWER_TIMEOUT)

    def page(self, completion: Completion) -> HistoryPage:
        """What came, less what was not asked for."""
        wanted = tuple(e for batch in self._batches for e in batch if self._wanted.matches(e))
        return HistoryPage(
            wanted,
            self._count - len(wanted),
            completion.request_id,
            completion.last_hash,
            completion.cursor,
        )


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of posted envelopes."""

    sent: int
    confirmed: int
    """Of those sent: how many came in packets that the peer confirmed, less those refused."""
    errors: Errors


class MailPeer:
    """A connected mailserver; made by `connect`."""

    def __init__(self, node_key: PrivateKey, password: str | None) -> None:
        self.hello: Hello
        self.counters = Counters()
        self._node_key = node_key
        self._key = None if password is None else symmetric_key(password)
        connection = ConnectionConfig(
            node_key=node_key,
            client_id=CLIENT_ID,
            listen_port=0,
            capabilities=WAKU,
        )
        # A light node with an empty bloom: it wants history, and no live envelopes.
        options = StatusOptions(pow=0.0, bloom=bytes(BLOOM_SIZE), light=True, confirmations=False)
        self._node = Node(NodeConfig(connection, options), self, self.counters)
        self._link: Link
        self._turn = asyncio.Lock()
        self._posting = asyncio.Lock()
        self._answer: Answer | None = None
        self._unconfirmed: dict[bytes, asyncio.Future[Errors]] = {}

    async def open(self, enode: Enode) -> None:
        """Connect, exchange hello and status."""
        self._link = await self._node.dial(enode)

    async def close(self) -> None:
        """Say goodbye."""
        await self._node.close()

    # -- history ------------------------------------------------------------------------------

    async def history(
        self,
        *,
        lower: int,
        upper: int | None = None,
        topics: Collection[bytes] = (),
        bloom: bytes = b"",
        limit: int = mail.MAX_LIMIT,
        cursor: bytes = b"",
        form: Form = Form.R3,
    ) -> AsyncIterator[HistoryPage]:
        """Pages of `limit` envelopes created from `lower` to `upper`, newest first.

        Times are Unix seconds, inclusive; `upper` is now by default. Follows the cursor until the
        mailserver has no more; stop iterating to stop asking. RequestRefused, AnswerTimeout and
        PeerGone end it.
        """
        upper = int(time.time()) + mail.UPPER_MARGIN if upper is None else upper
        wanted = Wanted(lower, upper, tuple(topics), bloom, limit)
        empty = 0
        while True:
            page = await self.request(wanted, cursor, form)
            yield page
            if not page.cursor:
                return
            empty = 0 if page.envelopes else empty + 1
            if empty == MAX_EMPTY_PAGES:
                raise RequestRefused(f"{empty} pages without an envelope, and no end")
            if page.cursor == cursor:
                raise RequestRefused("the mailserver answered with the cursor that it was given")
            cursor = page.cursor

    async def request(
        self, wanted: Wanted, cursor: bytes = b"", form: Form = Form.R3
    ) -> HistoryPage:
        """Ask for one page. Requests of one peer take turns: p2p messages carry no request id."""
        async with self._turn:
            packet, request_id = mail.build_request(
                form,
                lower=wanted.lower,
                upper=wanted.upper,
                topics=wanted.topics,
                bloom=wanted.bloom,
                limit=wanted.limit,
                cursor=cursor,
                key=self._key or public_key(self._link.node_id),
                sign_with=self._node_key,
                random=os.urandom,
                now=int(time.time()),
            )
            answer = self._answer = Answer(wanted, request_id)
            self._link.peer.request_history(packet)
            try:
                async with answer.timeout:
                    await self._link.drain()
                    completion = await answer.completed
            except asyncio.CancelledError:
                # What still comes would be taken for the answer to the next request.
                self._link.disconnect(DisconnectReason.REQUESTED)
                raise
            except TimeoutError:
                self._link.disconnect(DisconnectReason.USELESS_PEER)
                raise AnswerTimeout(f"no envelope for {ANSWER_TIMEOUT:.0f} s") from None
            finally:
                self._answer = None
                self._link.peer.expects_history = False
            if completion.error is not None:
                raise RequestRefused(completion.error)
            return answer.page(completion)

    # -- posting ------------------------------------------------------------------------------

    async def post(self, envelopes: Sequence[bytes]) -> Posted:
        """Send envelopes (each its RLP) and wait for the confirmations, if the peer gives any."""
        async with self._posting:
            return await self._post(envelopes)

    async def _post(self, envelopes: Sequence[bytes]) -> Posted:
        self._link.peer.expects_confirmations = self._link.peer.settings.confirmations
        groups: dict[bytes, list[bytes]] = {}
        try:
            for group in packets(envelopes):
                packet = join_list(group)
                batch_hash = keccak256(packet)
                if batch_hash in groups:
                    continue  # the same envelopes once more
                groups[batch_hash] = group
                self._unconfirmed[batch_hash] = asyncio.get_running_loop().create_future()
                self._link.peer.send_messages(packet)
                await self._link.drain()
            if not self._link.peer.expects_confirmations:
                return Posted(len(envelopes), 0, ())
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await asyncio.gather(*(self._unconfirmed[batch_hash] for batch_hash in groups))
            errors = self._errors(groups)
            return Posted(len(envelopes), len(envelopes) - len(errors), errors)
        except TimeoutError:
            raise AnswerTimeout(f"no confirmation for {ANSWER_TIMEOUT:.0f} s") from None
        finally:
            for batch_hash in groups:
                waiter = self._unconfirmed.pop(batch_hash)
                if not waiter.cancel() and not waiter.cancelled():
                    waiter.exception()  # looked at, or asyncio complains

    def _errors(self, groups: Mapping[bytes, Sequence[bytes]]) -> Errors:
        """What the confirmations say of the envelopes that were sent, and of no others."""
        errors: dict[bytes, waku.EnvelopeError] = {}
        for batch_hash, group in groups.items():
            sent = set(keccak256_many(group))
            refused = self._unconfirmed[batch_hash].result()
            errors |= {error.hash: error for error in refused if error.hash in sent}
        return tuple(errors.values())

    # -- node.Handler -------------------------------------------------------------------------

    def on_event(self, link: Link, event: Event) -> None:
        """Route what the mailserver did."""
        match event:
            case Ready(hello):
                self.hello = hello
            case HistoryDelivered(batch) if self._answer is not None:
                self._answer.add(batch)
            case HistoryCompleted(completion) if self._completes(completion):
                assert self._answer is not None
                self._answer.completed.set_result(completion)
            case Confirmed(batch_hash, errors):
                self._on_confirmed(batch_hash, errors)
            case EnvelopesReceived():
                pass  # a light node with an empty bloom is sent none; whoever sends is ignored
            case _:
                self.counters.add("packets_unasked")

    def on_gone(self, link: Link) -> None:
        """Whoever waits learns why it will not come."""
        assert link.closed is not None
        waiters: list[asyncio.Future[Any]] = list(self._unconfirmed.values())
        if self._answer is not None:
            waiters.append(self._answer.completed)
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(PeerGone(describe(link.closed)))

    def _completes(self, completion: Completion) -> bool:
        answer = self._answer
        return (
            answer is not None
            and completion.request_id == answer.request_id
            and not answer.completed.done()
        )

    def _on_confirmed(self, batch_hash: bytes, errors: Errors) -> None:
        """The Message Response comes first and carries the errors; the Batch Ack adds nothing."""
        waiter = self._unconfirmed.get(batch_hash)
        if waiter is not None and not waiter.done():
            waiter.set_result(errors)


def packets(envelopes: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Group envelopes into Messages packets of at most MAX_POST_PACKET bytes each."""
    group: list[bytes] = []
    size = 0
    for envelope in envelopes:
        if group and size + len(envelope) > MAX_POST_PACKET:
            yield group
            group, size = [], 0
        group.append(envelope)
        size += len(envelope)
    if group:
        yield group


@asynccontextmanager
async def connect(
    enode: Enode | str,
    *,
    node_key: PrivateKey | None = None,
    password: str | None = DEFAULT_PASSWORD,
) -> AsyncIterator[MailPeer]:
    """Connect to a mailserver.

    Requests are sealed with `password`, or for the node's public key where it is None. Without
    `node_key` the connection has an identity of its own. OSError, PeerGone or TimeoutError when
    the mailserver is not reached within CONNECT_TIMEOUT.
    """
    target = Enode.parse(enode) if isinstance(enode, str) else enode
    peer = MailPeer(node_key or keys.generate(os.urandom), password)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await peer.open(target)
        yield peer
    finally:
        await peer.close()
