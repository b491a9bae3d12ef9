"""The mail client: asks a mailserver for history and posts envelopes.

    async with connect(enode) as peer:
        async for page in peer.history(topics=[topic], lower=since, keys=[key]):
            for envelope, message in zip(page.envelopes, page.messages):
                ...

A mailserver may send expired envelopes, so its packets are bounded and checked: they are accepted
only while a request is open, and only the envelopes that it asked for, up to its limit, are kept.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from wakumail.base.text import counted
from wakumail.counters import Counters
from wakumail.devp2p.connection import ConnectionConfig
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import PrivateKey, PublicKey, generate, node_id, public_key
from wakumail.devp2p.packets import WAKU, Hello
from wakumail.errors import AnswerTimeout, DisconnectReason, PeerGone, WakumailError
from wakumail.mail.answer import (
    ANSWER_TIMEOUT,
    MAX_ENVELOPE,
    Answer,
    HistoryPage,
    RequestRefused,
    Wanted,
    check_keys,
)
from wakumail.mail.history_progress import HistoryProgress
from wakumail.mail.posting import Posted, Poster
from wakumail.mail.request import MAX_LIMIT, Form, build_request, check_cursor
from wakumail.node.link import Link, describe
from wakumail.node.messages import DEFAULT_MINING_TIME, DEFAULT_TARGET, DEFAULT_TTL, Key, compose
from wakumail.node.node import DIAL_TIMEOUT, Node, NodeConfig
from wakumail.version import CLIENT_ID
from wakumail.waku.bloom import BLOOM_SIZE
from wakumail.waku.completion import Completion
from wakumail.waku.envelope import Envelope, Rules
from wakumail.waku.message import DEFAULT_PASSWORD, symmetric_key
from wakumail.waku.packets import StatusOptions
from wakumail.waku.peer_events import (
    Confirmed,
    HistoryCompleted,
    HistoryDelivered,
    PeerEvent,
    Ready,
)

MAX_PACKET = 10 << 20
"""Bytes of a packet from a mailserver, once it is inflated."""

RULES = Rules(min_pow=0.002, min_pow_large=0.000002, max_envelope=MAX_ENVELOPE)
"""Judge the live envelopes that a mailserver sends though none are wanted."""


class PostRefused(WakumailError):
    """A posted envelope was not sent, was refused or was not confirmed; the text says why."""

    counter = "posts_refused"


class MailPeer:
    """A connected mailserver; made by `connect`."""

    def __init__(
        self, enode: Enode, node_key: PrivateKey | None, key: bytes | None, answer_timeout: float
    ) -> None:
        self.enode = enode
        self.answer_timeout = answer_timeout
        """Seconds of silence after which the mailserver is given up."""
        self.hello: Hello
        self.counters = Counters()
        self._node_key = node_key or generate(os.urandom)
        self._key = key
        connection = ConnectionConfig(
            node_key=self._node_key,
            client_id=CLIENT_ID,
            port=0,
            capabilities=WAKU,
            max_packet=MAX_PACKET,
        )
        # An empty bloom, since no live envelopes are wanted. A light node would say the same, but
        # could not ask a mailserver that is a light node too.
        options = StatusOptions(pow=0.0, bloom=bytes(BLOOM_SIZE), light=False, confirmations=False)
        config = NodeConfig(
            connection,
            options,
            RULES,
            maxpeers=0,
            max_handshakes=1,
            netrestrict=(),
            incoming_limits=None,
        )
        self._node = Node(config, self, self.counters)
        self._link: Link
        self._poster: Poster
        self._turn = asyncio.Lock()
        self._asking = 0
        """Requests that wait for their turn or their answer."""
        self._answer: Answer | None = None
        """The answer that p2p packets belong to, until it is complete."""

    async def open(self) -> None:
        """Connect, exchange hello and status."""
        seconds = min(DIAL_TIMEOUT, self.answer_timeout)
        try:
            async with asyncio.timeout(seconds):
                await self._node.dial(self.enode)
        except TimeoutError:
            raise AnswerTimeout(f"not connected within {seconds:g} s") from None
        except OSError as error:
            # asyncio's text is "Connect call failed", whatever the reason.
            number = error.errno or 0
            text = os.strerror(number) if number > 0 else error.strerror or str(error)
            raise OSError(error.errno, text, self.enode.address) from None

    async def close(self) -> None:
        """Say goodbye."""
        await self._node.close()

    @property
    def gone(self) -> bool:
        """True if the connection has ended."""
        return self._link.closed is not None

    # -- history ------------------------------------------------------------------------------

    def history(
        self,
        *,
        lower: int,
        upper: int | None = None,
        topics: Collection[bytes] = (),
        bloom: bytes = b"",
        limit: int = MAX_LIMIT,
        cursor: bytes = b"",
        form: Form = Form.R3,
        keys: Sequence[Key] = (),
    ) -> AsyncGenerator[HistoryPage, None]:
        """Pages of `limit` envelopes created from `lower` to `upper`, newest first.

        Times are Unix seconds, inclusive; `upper` is now by default. `keys` open the messages in
        the envelopes. Asks for one page after another while the mailserver has more; stop iterating
        to stop asking. An envelope is in one page only, however often the mailserver sends it.

        The call itself raises ValueError or TypeError for arguments that no request can have (see
        Wanted), before anything is sent. RequestRefused, AnswerTimeout and PeerGone end the pages;
        the first two also if pages bring too little, HistoryDisordered if they are out of order
        (see HistoryProgress).
        """
        wanted = Wanted.of(lower, upper, topics, bloom, limit)
        return self.pages(wanted, cursor, form, keys)

    def pages(
        self,
        wanted: Wanted,
        cursor: bytes = b"",
        form: Form = Form.R3,
        keys: Sequence[Key] = (),
        progress: HistoryProgress | None = None,
    ) -> AsyncGenerator[HistoryPage, None]:
        """The same for `wanted`, a window of a longer history if that has a `progress`."""
        check_cursor(cursor, form)
        check_keys(keys)
        progress = progress or HistoryProgress(wanted.limit, self.answer_timeout)
        return self._pages(wanted, cursor, form, keys, progress)

    async def _pages(
        self,
        wanted: Wanted,
        cursor: bytes,
        form: Form,
        keys: Sequence[Key],
        progress: HistoryProgress,
    ) -> AsyncGenerator[HistoryPage, None]:
        progress.begin_window(cursor)
        while True:
            page = progress.take(*await self._timed_request(wanted, cursor, form, keys))
            yield page
            if not page.cursor:
                return
            cursor = page.cursor
            del page  # not needed while the next one comes in
            progress.check(cursor, form)

    async def request(
        self,
        wanted: Wanted,
        cursor: bytes = b"",
        form: Form = Form.R3,
        keys: Sequence[Key] = (),
    ) -> HistoryPage:
        """Ask for one page.

        Requests of one peer take turns, since p2p messages carry no request id. For the same reason
        a request waits until the answer to one that was cancelled before it is complete.
        """
        page, _ = await self._timed_request(wanted, cursor, form, keys)
        return page

    async def _timed_request(
        self, wanted: Wanted, cursor: bytes, form: Form, keys: Sequence[Key]
    ) -> tuple[HistoryPage, float]:
        """The page, and the seconds that it took, without those until its turn."""
        check_cursor(cursor, form)
        check_keys(keys)
        self._asking += 1
        try:
            async with self._turn:
                await self._let_abandoned_answer_end()
                packet, request_id = self._build(wanted, cursor, form)
                answer = Answer(wanted, request_id, self.answer_timeout)
                completion = await self._ask(packet, answer)
                seconds = answer.age
        finally:
            self._asking -= 1
        if completion.error is not None:
            raise RequestRefused(completion.error)
        return await answer.page(completion, keys), seconds

    def drop_abandoned(self) -> None:
        """Disconnect if the answer to a cancelled request is coming in and no request waits for it.

        Dialing again may take less time than the rest of the answer.
        """
        if self._answer is not None and not self._asking:
            self._link.disconnect(DisconnectReason.REQUESTED)

    def _build(self, wanted: Wanted, cursor: bytes, form: Form) -> tuple[bytes, bytes]:
        """A P2P Request packet and its request id."""
        return build_request(
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

    async def _ask(self, packet: bytes, answer: Answer) -> Completion:
        """Send the request and let `answer` come in."""
        if self._link.closed is not None:
            raise PeerGone(describe(self._link.closed))
        try:
            async with asyncio.timeout(self.answer_timeout):
                await self._link.outbox.pace(size=len(packet))
        except TimeoutError:
            text = f"its rate limits allow no request (timeout {self.answer_timeout:g} s)"
            raise AnswerTimeout(text) from None
        self._answer = answer
        self._link.peer.history_room = answer.room
        self._link.peer.request_history(packet)
        self._link.outbox.flush()
        try:
            return await answer.wait()
        except asyncio.CancelledError:
            answer.abandon()
            raise
        except TimeoutError:
            allowed = f"timeout {self.answer_timeout:g} s"
            if not answer.count:
                text = f"it does not answer requests ({allowed}); does it keep an archive?"
            else:
                text = f"the answer stalled after {counted(answer.count, 'envelope')} ({allowed})"
            raise self._given_up(text) from None

    async def _let_abandoned_answer_end(self) -> None:
        """Wait for the rest of the answer to a cancelled request, if one is still coming in.

        Its envelopes would be taken for those of the next request.
        """
        if self._answer is None:
            return
        try:
            await self._answer.wait()
        except TimeoutError:
            text = f"it did not end its last answer (timeout {self.answer_timeout:g} s)"
            raise self._given_up(text) from None

    def _given_up(self, text: str) -> AnswerTimeout:
        """Disconnect from a silent mailserver and return the error to raise."""
        self._link.disconnect(DisconnectReason.USELESS_PEER)
        return AnswerTimeout(text)

    # -- posting ------------------------------------------------------------------------------

    async def post(self, envelopes: Sequence[Envelope | bytes]) -> Posted:
        """Send envelopes (or the RLP of each) and wait for confirmations, if the peer gives any.

        Withholds those that the peer must not be sent: they have expired, have less PoW than it
        asks for, or another topic. RlpError for bytes that are no envelope, AnswerTimeout or
        PeerGone when the confirmations do not come.
        """
        encoded = [each if isinstance(each, bytes) else each.rlp for each in envelopes]
        return await self._poster.post(encoded, self.answer_timeout)

    # -- node.Handler -------------------------------------------------------------------------

    def on_event(self, link: Link, event: PeerEvent) -> None:
        """Route the packets of the mailserver to the answer or the post that they belong to."""
        match event:
            case Ready(hello):
                self.hello = hello
                self._link, self._poster = link, Poster(link)
            case HistoryDelivered(batch) if self._answer is not None:
                self._answer.add(batch)
                link.peer.history_room = self._answer.room
            case HistoryCompleted(completion) if self._is_awaited(completion):
                assert self._answer is not None
                self._answer.completed.set_result(completion)
                self._answer = None
                link.peer.expects_history = False
            case Confirmed(batch_hash, errors):
                self._poster.on_confirmed(batch_hash, errors)
            case HistoryDelivered() | HistoryCompleted():
                self.counters.add("packets_unasked")

    def on_writable(self, link: Link) -> None:
        """Do nothing: posting waits for room by itself."""

    def on_gone(self, link: Link) -> None:
        """Fail what waits for an answer or a confirmation: none will come any more."""
        assert link.closed is not None
        error = PeerGone(describe(link.closed))
        self._poster.on_gone(error)
        if self._answer is not None:
            self._answer.fail(error)

    def _is_awaited(self, completion: Completion) -> bool:
        return self._answer is not None and completion.request_id == self._answer.request_id


def unfit(enode: Enode, node_key: PrivateKey | None) -> str:
    """The reason why no mailserver can be meant by `enode`; empty if there is none.

    `node_key` is that of the client.
    """
    if node_key is not None and enode.node_id == node_id(node_key.public_key):
        return "it has the id of the client itself"
    return enode.undialable


def target_of(enode: Enode | str) -> Enode:
    """The mailserver that is meant; ValueError for a malformed URL, TypeError for other types."""
    if isinstance(enode, Enode):
        return enode
    if not isinstance(enode, str):
        raise TypeError(f"a mailserver is an Enode or its URL, not {type(enode).__name__}")
    return Enode.parse(enode)


def check_node_key(node_key: PrivateKey | None) -> None:
    """TypeError for a node key of a wrong type."""
    if node_key is not None and not isinstance(node_key, PrivateKey):
        raise TypeError(f"a node key is a PrivateKey, not {type(node_key).__name__}")


async def password_key(password: str | None) -> bytes | None:
    """The key of a password; None without one. TypeError for a password of a wrong type.

    It is derived in a thread: it takes some 30 ms.
    """
    if password is None:
        return None
    if not isinstance(password, str):
        raise TypeError(f"a password is text, not {type(password).__name__}")
    return await asyncio.to_thread(symmetric_key, password)


@asynccontextmanager
async def connect(
    enode: Enode | str,
    *,
    node_key: PrivateKey | None = None,
    password: str | None = DEFAULT_PASSWORD,
    answer_timeout: float = ANSWER_TIMEOUT,
) -> AsyncIterator[MailPeer]:
    """Connect to a mailserver.

    Requests are sealed with `password`, or for the node's public key if that is None. Without
    `node_key` the connection has an identity of its own. The mailserver is given up after
    `answer_timeout` seconds of silence. OSError, PeerGone or AnswerTimeout if it is not reached,
    ValueError for a malformed enode, for an address that nobody can dial, and for the node of
    `node_key` itself, TypeError for arguments of other types.
    """
    target = target_of(enode)
    check_node_key(node_key)
    if why := unfit(target, node_key):
        raise ValueError(f"{target.address}: {why}")
    key = await password_key(password)
    peer = MailPeer(target, node_key, key, answer_timeout)
    try:
        await peer.open()
        yield peer
    finally:
        await peer.close()


async def post(
    enode: Enode | str,
    payload: bytes,
    *,
    topic: bytes,
    key: bytes | PublicKey,
    sign_with: PrivateKey | None = None,
    ttl: int = DEFAULT_TTL,
    pow_target: float = DEFAULT_TARGET,
    pow_time: float = DEFAULT_MINING_TIME,
    unconfirmed: bool = False,
    node_key: PrivateKey | None = None,
    answer_timeout: float = ANSWER_TIMEOUT,
) -> Envelope:
    """Seal a payload, mine its envelope, send it, and return it when the mailserver has it on disk.

    The message is made with `compose`, then the mailserver is dialed with `connect`; the arguments
    and errors are theirs. PostRefused if the mailserver must not be sent the envelope or refuses
    it, and if it does not confirm it, unless `unconfirmed`.
    """
    envelope = await compose(
        payload,
        topic=topic,
        key=key,
        sign_with=sign_with,
        ttl=ttl,
        pow_target=pow_target,
        pow_time=pow_time,
    )
    async with connect(
        enode, node_key=node_key, password=None, answer_timeout=answer_timeout
    ) as peer:
        posted = await peer.post([envelope])
    for withheld in posted.withheld:
        raise PostRefused(f"not sent: {withheld}")
    for error in posted.errors:
        raise PostRefused(f"refused: {error.text} ({error.code})")
    if not posted.confirmed and not unconfirmed:
        raise PostRefused("not confirmed: the node does not say what it has stored")
    return envelope
