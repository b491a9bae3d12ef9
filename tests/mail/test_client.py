"""The client against slow, wrong and hostile mailservers: it is bounded and says what is wrong."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import repeat

import pytest

from tests.support.confirmations import listed
from tests.support.envelopes import make, rules_with
from tests.support.patience import PATIENCE, asynchronous, eventually, turns
from tests.support.puppet import SYNC_CONFIG, connection_config, node_config
from tests.support.scripted import (
    OnBatch,
    OnRequest,
    Scripted,
    archive_of,
    complete,
    nobody,
    packet,
    scripted,
    silent,
    stall,
)
from wakumail.counters import Counters
from wakumail.devp2p.keys import generate
from wakumail.errors import AnswerTimeout, DisconnectReason, PeerGone
from wakumail.mail import answer, client, history_progress
from wakumail.mail.answer import ANSWER_TIMEOUT, RequestRefused, Wanted
from wakumail.mail.client import MailPeer, connect
from wakumail.mail.mailservers import mailservers
from wakumail.mail.request import MAX_LIMIT, Form, Request
from wakumail.mail.server import Server, ServerConfig
from wakumail.node.link import Link
from wakumail.waku.completion import Completion, CompletionForm
from wakumail.waku.confirmations import NO_ERRORS, EnvelopeError
from wakumail.waku.envelope import Envelope, make_envelope
from wakumail.waku.message import seal

TOPIC = b"topi"
NOW = int(time.time())
WANTED = Wanted(NOW - 3600, NOW + 3600, (TOPIC,), limit=100)  # its tests may run much later


@asynccontextmanager
async def mailserver(
    on_request: OnRequest | None = None,
    on_batch: OnBatch | None = None,
    answer_timeout: float = ANSWER_TIMEOUT,
) -> AsyncIterator[tuple[MailPeer, Scripted]]:
    """A client connected to a mailserver that behaves as told."""
    async with scripted(on_request, on_batch) as server, connect(server.enode) as peer:
        peer.answer_timeout = answer_timeout
        yield peer, server


def trickle(packets: Iterator[Sequence[Envelope]]) -> OnRequest:
    """Sends one packet after another, with pauses, until the client has left; never completes."""

    async def send(link: Link) -> None:
        while link.closed is None:
            link.peer.deliver_history(packet(next(packets)))
            link.outbox.flush()
            await turns()

    tasks: list[asyncio.Task[None]] = []
    return lambda link, request: tasks.append(asyncio.create_task(send(link)))


def envelope_of(data: bytes) -> Envelope:
    return make_envelope(NOW + 30, 50, TOPIC, data, 0)


@asynchronous
async def test_what_was_not_asked_for_is_left_out() -> None:
    wanted, others = make(5, [TOPIC]), make(4, [b"else"])
    old = make(3, [TOPIC], created=NOW - 7200)

    def answer(link: Link, request: Request) -> None:
        link.peer.deliver_history(packet(others + wanted))
        link.peer.deliver_history(packet(old))
        complete(link, request)

    async with mailserver(answer) as (peer, _):
        page = await peer.request(WANTED)
        assert list(page.envelopes) == wanted
        assert page.foreign == 7


@asynchronous
async def test_what_no_node_takes_is_left_out() -> None:
    """The largest envelope that is accepted, and one that is a byte larger."""
    size = rules_with().max_envelope
    rest = size - len(envelope_of(bytes(size // 2)).rlp) + size // 2
    largest, larger = envelope_of(bytes(rest)), envelope_of(bytes(rest + 1))
    assert len(largest.rlp) == size
    async with mailserver(archive_of([larger, largest])) as (peer, _):
        page = await peer.request(WANTED)
        assert page.envelopes == (largest,)
        assert page.foreign == 1


@asynchronous
async def test_more_than_was_asked_for_ends_the_connection() -> None:
    def answer(link: Link, request: Request) -> None:
        for seed in range(30):
            link.peer.deliver_history(packet(make(10, [TOPIC], seed=seed)))

    async with mailserver(answer) as (peer, _):
        with pytest.raises(PeerGone, match="more than the 100 envelopes"):
            await peer.request(WANTED)
        assert peer.counters["history_over_limit"] == 1


@asynchronous
async def test_a_silent_mailserver_is_given_up() -> None:
    async with mailserver(stall, answer_timeout=0.05) as (peer, _):
        with pytest.raises(AnswerTimeout, match="does it keep an archive"):
            await peer.request(WANTED)


@asynchronous
async def test_a_node_without_an_archive_says_so() -> None:
    """Nobody waits for an answer that will not come."""
    key = generate(os.urandom)
    config = ServerConfig(
        node_config(connection_config(key)),
        None,
        relay_memory=1 << 20,
        max_reply=1 << 20,
        external_host="",
        sync=SYNC_CONFIG,
    )
    counters = Counters()
    server = Server(config, None, counters)
    await server.node.listen("127.0.0.1", 0)
    try:
        for form in (Form.R1, Form.R3):
            async with connect(server.enode) as peer:
                with pytest.raises(RequestRefused, match="this node keeps no archive"):
                    await peer.request(WANTED, form=form)
    finally:
        await server.close()
    assert counters["requests_no_archive"] == counters["requests_failed"] == 2


@asynchronous
async def test_a_password_does_not_hold_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its key takes 30 ms: it is derived in a thread."""
    threads: list[threading.Thread] = []

    def derive(password: str) -> bytes:
        threads.append(threading.current_thread())
        return bytes(32)

    monkeypatch.setattr(client, "symmetric_key", derive)
    async with mailserver(), mailservers([nobody()]):
        pass
    assert len(threads) == 2
    assert threading.main_thread() not in threads


@asynchronous
async def test_one_that_says_nothing_at_all() -> None:
    with silent() as enode, pytest.raises(AnswerTimeout, match=r"not connected within 0\.05 s"):
        async with connect(enode, answer_timeout=0.05):
            pass


@asynchronous
async def test_empty_packets_are_no_progress() -> None:
    async with mailserver(trickle(repeat([])), answer_timeout=0.1) as (peer, _):
        with pytest.raises(AnswerTimeout):
            await peer.request(WANTED)


@asynchronous
async def test_a_trickle_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole answer may take a moment, each silence in it an age."""
    monkeypatch.setattr(answer, "MAX_TIMEOUTS", 0.01 / PATIENCE)
    envelopes = make(1, [TOPIC])
    async with mailserver(trickle(repeat(envelopes)), answer_timeout=PATIENCE) as (peer, _):
        with pytest.raises(AnswerTimeout, match=r"stalled after [1-9]\d* envelopes?"):
            await peer.request(replace(WANTED, limit=MAX_LIMIT))


@asynchronous
async def test_nothing_unasked_is_taken() -> None:
    envelopes = make(5, [TOPIC])

    def push(link: Link) -> None:
        for _ in range(20):
            link.peer.deliver_history(packet(envelopes))
        completion = Completion(bytes(32), cursor=b"c" * 36)
        link.peer.complete_history(completion.encode(CompletionForm.BYTES))
        link.peer.send_messages(packet(envelopes))

    def answer(link: Link, request: Request) -> None:
        archive_of([])(link, request)
        push(link)

    async with scripted(answer) as server:
        server.on_ready = push
        async with connect(server.enode) as peer:
            for _ in range(2):
                page = await peer.request(WANTED)
                assert not page.envelopes
                assert not page.foreign
            await eventually(lambda: peer.counters["packets_unasked"] == 3 * 21)


@asynchronous
async def test_messages_are_opened() -> None:
    password, private, author = bytes(32), generate(os.urandom), generate(os.urandom)
    envelopes = [
        envelope_of(seal(b"shared", key=password, sign_with=author, random=os.urandom)),
        envelope_of(seal(b"private", key=private.public_key, random=os.urandom)),
        envelope_of(seal(b"foreign", key=b"\1" * 32, random=os.urandom)),
    ]
    async with mailserver(archive_of(envelopes)) as (peer, _):
        pages = peer.history(lower=NOW - 60, topics=[TOPIC], limit=2, keys=[password, private])
        found = {
            envelope: message
            async for page in pages
            for envelope, message in zip(page.envelopes, page.messages, strict=True)
        }
    shared, secret = found[envelopes[0]], found[envelopes[1]]
    assert shared is not None
    assert (shared.payload, shared.signer) == (b"shared", author.public_key)
    assert secret is not None
    assert (secret.payload, secret.recipient) == (b"private", private.public_key)
    assert found[envelopes[2]] is None


@asynchronous
async def test_cursors_without_end() -> None:
    def answer(link: Link, request: Request) -> None:
        complete(link, request, os.urandom(36))

    async with mailserver(answer) as (peer, handler):
        with pytest.raises(RequestRefused, match="no end"):
            async for _page in peer.history(lower=NOW - 60, topics=[TOPIC]):
                pass
        assert len(handler.requests) == history_progress.MAX_SHORT_PAGES


@asynchronous
async def test_a_cursor_that_stays_where_it_is() -> None:
    async with mailserver(lambda link, request: complete(link, request, b"c" * 36)) as (
        peer,
        _,
    ):
        with pytest.raises(RequestRefused, match="cursor that it was given"):
            async for _page in peer.history(lower=NOW - 60, topics=[TOPIC]):
                pass


@asynchronous
async def test_completions_of_other_requests_are_not_ours() -> None:
    def answer(link: Link, request: Request) -> None:
        complete(link, replace(request, request_id=bytes(32)))
        link.peer.deliver_history(packet(make(2, [TOPIC])))
        complete(link, request)

    async with mailserver(answer) as (peer, _):
        assert len((await peer.request(WANTED)).envelopes) == 2
        assert peer.counters["packets_unasked"] == 1


@asynchronous
async def test_the_words_of_a_mailserver_do_not_steer_the_terminal() -> None:
    def answer(link: Link, request: Request) -> None:
        completion = Completion(request.request_id, error="no\x1b[2J\nok: all is well")
        link.peer.complete_history(completion.encode(CompletionForm.BYTES))

    async with mailserver(answer) as (peer, _):
        with pytest.raises(RequestRefused) as refused:
            await peer.request(WANTED)
        assert str(refused.value) == "no?[2J?ok: all is well"


@asynchronous
async def test_only_what_was_sent_can_be_refused() -> None:
    sent = make(3, [TOPIC])
    strange = [EnvelopeError(os.urandom(32), 1, "no") for _ in range(1000)]

    def refuse(link: Link, batch_hash: bytes) -> None:
        errors = (*strange, EnvelopeError(sent[0].hash, 1, "old"))
        link.peer.confirm([(batch_hash, listed(errors))])

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
async def test_no_confirmation() -> None:
    async with mailserver(None, lambda link, batch_hash: None, answer_timeout=0.05) as (peer, _):
        with pytest.raises(AnswerTimeout, match="no confirmation"):
            await peer.post([e.rlp for e in make(3, [TOPIC])])


@asynchronous
async def test_posts_take_turns() -> None:
    batch = [e.rlp for e in make(3, [TOPIC])]

    def confirm(link: Link, batch_hash: bytes) -> None:
        link.peer.confirm([(batch_hash, NO_ERRORS)])

    async with mailserver(on_batch=confirm) as (
        peer,
        _,
    ):
        first, second = await asyncio.gather(peer.post(batch), peer.post(batch))
        assert first.confirmed == second.confirmed == 3
