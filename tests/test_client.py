"""The client against mailservers that are slow, wrong or hostile: bounded, and told in words."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.envelopes import make
from tests.puppet import asynchronous, connection_config
from wakumail import client, mail, rlp, waku
from wakumail.client import AnswerTimeout, MailPeer, RequestRefused, Wanted, connect
from wakumail.completion import Completion, Dialect
from wakumail.counters import Counters
from wakumail.enode import Enode
from wakumail.envelope import Envelope, Rules
from wakumail.errors import DisconnectReason, PeerGone
from wakumail.keys import generate, node_id
from wakumail.node import Link, Node, NodeConfig
from wakumail.peer import EnvelopesReceived, Event, HistoryRequested
from wakumail.waku import StatusOptions

TOPIC = b"topi"
NOW = int(time.time())
WANTED = Wanted(NOW - 3600, NOW + 60, (TOPIC,), limit=100)
Answer = Callable[[Link, bytes], None]


class Handler:
    """Does to each request, and each batch, what the test says."""

    def __init__(self, on_request: Answer | None, on_batch: Answer | None) -> None:
        self.on_request = on_request
        self.on_batch = on_batch
        self.requests = 0

    def on_event(self, link: Link, event: Event) -> None:
        match event:
            case HistoryRequested(packet) if self.on_request is not None:
                self.requests += 1
                self.on_request(link, mail.identify(packet))
            case EnvelopesReceived(_, batch_hash) if self.on_batch is not None:
                self.on_batch(link, batch_hash)
        link.flush()

    def on_gone(self, link: Link) -> None:
        pass


@asynccontextmanager
async def mailserver(
    on_request: Answer | None = None, on_batch: Answer | None = None
) -> AsyncIterator[tuple[MailPeer, Handler]]:
    """A client connected to a mailserver that behaves as told."""
    key = generate(os.urandom)
    handler = Handler(on_request, on_batch)
    options = StatusOptions(pow=0.0, confirmations=True)
    config = NodeConfig(connection_config(key), options, Rules(min_pow=0.0, min_pow_large=0.0))
    node = Node(config, handler, Counters())
    host, port = await node.listen("127.0.0.1", 0)
    try:
        async with connect(Enode(node_id(key.public_key), host, port, port)) as peer:
            yield peer, handler
    finally:
        await node.close()


def packet(envelopes: list[Envelope]) -> bytes:
    return rlp.join_list([envelope.rlp for envelope in envelopes])


def complete(link: Link, request_id: bytes, cursor: bytes = b"") -> None:
    completion = Completion(request_id, cursor=cursor)
    link.peer.complete_history(completion.encode(Dialect.LIST))


@asynchronous
async def test_what_was_not_asked_for_is_left_out() -> None:
    wanted, others = make(5, [TOPIC]), make(4, [b"else"])
    old = make(3, [TOPIC], created=NOW - 7200)

    def answer(link: Link, request_id: bytes) -> None:
        link.peer.deliver_history(packet(others + wanted))
        link.peer.deliver_history(packet(old))
        complete(link, request_id)

    async with mailserver(answer) as (peer, _):
        page = await peer.request(WANTED)
        assert list(page.envelopes) == wanted
        assert page.foreign == 7


@asynchronous
async def test_more_than_was_asked_for_ends_the_connection() -> None:
    def answer(link: Link, request_id: bytes) -> None:
        for seed in range(30):
            link.peer.deliver_history(packet(make(10, [TOPIC], seed=seed)))

    async with mailserver(answer) as (peer, _):
        with pytest.raises(PeerGone, match="more than the 100 envelopes"):
            await peer.request(WANTED)
        assert peer.counters["history_over_limit"] == 1


@asynchronous
async def test_a_silent_mailserver_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_TIMEOUT", 0.05)
    async with mailserver(lambda link, request_id: None) as (peer, _):
        with pytest.raises(AnswerTimeout):
            await peer.request(WANTED)


@asynchronous
async def test_empty_packets_are_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_TIMEOUT", 0.2)

    def answer(link: Link, request_id: bytes) -> None:
        if link.closed is None:
            link.peer.deliver_history(rlp.join_list([]))
            link.flush()
            asyncio.get_running_loop().call_later(0.01, answer, link, request_id)

    async with mailserver(answer) as (peer, _):
        with pytest.raises(AnswerTimeout):
            await peer.request(WANTED)


@asynchronous
async def test_cursors_without_end() -> None:
    def answer(link: Link, request_id: bytes) -> None:
        complete(link, request_id, os.urandom(36))

    async with mailserver(answer) as (peer, handler):
        with pytest.raises(RequestRefused, match="no end"):
            async for _page in peer.history(lower=NOW - 60, topics=[TOPIC]):
                pass
        assert handler.requests == client.MAX_EMPTY_PAGES


@asynchronous
async def test_a_cursor_that_stays_where_it_is() -> None:
    async with mailserver(lambda link, request_id: complete(link, request_id, b"c" * 36)) as (
        peer,
        _,
    ):
        with pytest.raises(RequestRefused, match="cursor that it was given"):
            async for _page in peer.history(lower=NOW - 60, topics=[TOPIC]):
                pass


@asynchronous
async def test_completions_of_other_requests_are_not_ours() -> None:
    def answer(link: Link, request_id: bytes) -> None:
        complete(link, bytes(32))
        link.peer.deliver_history(packet(make(2, [TOPIC])))
        complete(link, request_id)

    async with mailserver(answer) as (peer, _):
        assert len((await peer.request(WANTED)).envelopes) == 2
        assert peer.counters["packets_unasked"] == 1


@asynchronous
async def test_the_words_of_a_mailserver_do_not_steer_the_terminal() -> None:
    def answer(link: Link, request_id: bytes) -> None:
        completion = Completion(request_id, error="no\x1b[2J\nok: all is well")
        link.peer.complete_history(completion.encode(Dialect.BYTES))

    async with mailserver(answer) as (peer, _):
        with pytest.raises(RequestRefused) as refused:
            await peer.request(WANTED)
        assert str(refused.value) == "no?[2J?ok: all is well"


@asynchronous
async def test_only_what_was_sent_can_be_refused() -> None:
    sent = make(3, [TOPIC])
    strange = [waku.EnvelopeError(os.urandom(32), 1, "no") for _ in range(1000)]

    def refuse(link: Link, batch_hash: bytes) -> None:
        link.peer.confirm(batch_hash, (*strange, waku.EnvelopeError(sent[0].hash, 1, "old")))

    async with mailserver(on_batch=refuse) as (peer, _):
        posted = await peer.post([envelope.rlp for envelope in sent])
        assert (posted.sent, posted.confirmed) == (3, 2)
        assert [error.text for error in posted.errors] == ["old"]


@asynchronous
async def test_a_mailserver_that_goes_away_while_we_post() -> None:
    def leave(link: Link, batch_hash: bytes) -> None:
        link.disconnect(DisconnectReason.QUITTING)

    async with mailserver(on_batch=leave) as (peer, _):
        with pytest.raises(PeerGone, match="quitting"):
            await peer.post([e.rlp for e in make(3000, [TOPIC], size=1000)])


@asynchronous
async def test_no_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_TIMEOUT", 0.05)
    async with mailserver(on_batch=lambda link, batch_hash: None) as (peer, _):
        with pytest.raises(AnswerTimeout, match="no confirmation"):
            await peer.post([e.rlp for e in make(3, [TOPIC])])


@asynchronous
async def test_posts_take_turns() -> None:
    batch = [e.rlp for e in make(3, [TOPIC])]
    async with mailserver(on_batch=lambda link, batch_hash: link.peer.confirm(batch_hash, ())) as (
        peer,
        _,
    ):
        first, second = await asyncio.gather(peer.post(batch), peer.post(batch))
        assert first.confirmed == second.confirmed == 3
