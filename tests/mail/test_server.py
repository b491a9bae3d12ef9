"""The mailserver over real sockets, with peers that the tests control."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.disks import FullDisk
from tests.support.envelopes import TTL, make, newest_first, rules_with
from tests.support.exchanges import TOPICS, answer, build, build_wrong, messages, post, works
from tests.support.patience import asynchronous, eventually
from tests.support.puppet import Puppet, mailserver, request_policy
from wakumail.archive.results import Page
from wakumail.base import rlp
from wakumail.base.keccak import keccak256
from wakumail.counters import Counters
from wakumail.devp2p.connection_events import Closed, Established, Packet
from wakumail.devp2p.keys import generate
from wakumail.devp2p.packets import SHH6, Capability
from wakumail.mail.history import MAX_WAITING_BYTES
from wakumail.mail.request import Form, identify
from wakumail.ops.assembly import node_config
from wakumail.ops.config.settings import Settings
from wakumail.waku import packets as waku
from wakumail.waku.bloom import bloom_of
from wakumail.waku.completion import ZERO_HASH
from wakumail.waku.envelope import Envelope, make_envelope, parse
from wakumail.waku.interest import EVERYTHING, Interest
from wakumail.waku.packets import (
    MAX_REFUSED_REQUEST,
    MAX_REQUEST_SIZE,
    Code,
    StatusOptions,
    WakuDialect,
)


def test_a_node_nobody_configured() -> None:
    """The values of WAKU-USAGE ("Waku node configuration"), for all topics, in both versions."""
    config = node_config(Settings(), generate(os.urandom), Counters())
    assert config.connection.capabilities == (Capability("waku", 0), Capability("waku", 1))
    assert config.options.pow == config.rules.min_pow <= 0.002
    assert config.rules.min_pow_large <= 0.000002
    assert config.rules.interest == EVERYTHING
    assert config.options.interest is None
    assert (config.options.light, config.options.confirmations) == (False, True)
    bridge = node_config(Settings(shh=True), generate(os.urandom), Counters())
    assert {*bridge.connection.capabilities} == {*config.connection.capabilities, SHH6}


@asynchronous
async def test_confirms_what_is_archived(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode)
        envelopes = make(100, TOPICS)
        assert await post(puppet, envelopes) == []
        assert all(server.store.archive.contains(e.created, e.hash) for e in envelopes)
        assert await post(puppet, envelopes[:10]) == []
        assert await post(puppet, []) == []
        assert server.counters["envelopes_archived"] == 100
        assert server.counters["envelopes_duplicate"] == 10
        assert server.counters["envelopes_archived_before"] == 0


@asynchronous
async def test_reports_the_bad_ones_of_a_mixed_batch(tmp_path: Path, unix_time: int) -> None:
    """All that is not stored is named: a status-go client takes the rest as sent for ever."""
    now = unix_time
    good = make_envelope(now + TTL, TTL, b"good", b"", 0)
    nonces = [make_envelope(now + TTL, TTL, b"good", bytes(800), nonce) for nonce in range(9)]
    lazy = min(nonces, key=lambda envelope: envelope.pow)
    refused = {
        "very_old": (make_envelope(now - 100, TTL, b"good", b"", 0), 1, "very old envelope"),
        "from_future": (make_envelope(now + 500, TTL, b"good", b"", 0), 1, "envelope from future"),
        "expired": (make_envelope(now - 15, TTL, b"good", b"", 0), 1, "expired envelope"),
        "ttl_zero": (make_envelope(now, 0, b"good", b"", 0), 2, "envelope with a ttl of 0"),
        "too_large": (
            make_envelope(now + TTL, TTL, b"good", bytes(1000), 0),
            2,
            "envelope too large",
        ),
        "unwanted_topic": (make_envelope(now + TTL, TTL, b"evil", b"", 0), 2, "unwanted topic"),
        "low_pow": (lazy, 2, "too little PoW"),
    }
    wanted = Interest(topics=[b"good"])
    rules = rules_with(min_pow=0.0002, min_pow_large=0.0, max_envelope=900, interest=wanted)
    assert good.pow >= rules.min_pow > lazy.pow
    async with mailserver(tmp_path, node={"rules": rules}) as (server, enode):
        puppet = await Puppet.ready(enode)
        errors = await post(puppet, [good, *(envelope for envelope, _, _ in refused.values())])
        assert [(error.hash, error.code, error.text) for error in errors] == [
            (envelope.hash, code, text) for envelope, code, text in refused.values()
        ]
        assert server.store.archive.stat().envelopes == 1
        for verdict in refused:
            assert server.counters[f"envelopes_{verdict}"] == 1


@asynchronous
async def test_a_packet_whose_errors_do_not_fit_is_not_confirmed(tmp_path: Path) -> None:
    """It gets no confirmation, which would have to name all that were refused. Nothing ends."""
    (good,), old = make(1, TOPICS), make_envelope(1, 1, TOPICS[0], b"", 0)
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode)
        puppet.send(Code.MESSAGES, messages([*[old] * 20_000, good]))
        assert await post(puppet, make(1, TOPICS, seed=2)) == []
        assert server.counters["packets_messages_unconfirmable"] == 1
        assert server.counters["messages_confirmed"] == 1
        assert server.store.archive.contains(good.created, good.hash)


@asynchronous
async def test_confirmations_can_be_off(tmp_path: Path) -> None:
    options = waku.StatusOptions(pow=0.0, confirmations=False)
    async with mailserver(tmp_path, node={"options": options}) as (server, enode):
        puppet = await Puppet.ready(enode)
        puppet.send(Code.MESSAGES, messages(make(3, TOPICS)))
        await eventually(lambda: server.counters["envelopes_archived"] == 3)
        await works(enode)
        assert server.counters["messages_confirmed"] == 0


@asynchronous
async def test_an_envelope_over_its_limit_is_dropped_alone(tmp_path: Path) -> None:
    rules = rules_with(min_pow=0.0, min_pow_large=0.0, max_envelope=1000)
    async with mailserver(tmp_path, node={"rules": rules}) as (server, enode):
        puppet = await Puppet.ready(enode)
        good = make(10, TOPICS, size=50)
        large = make(3, TOPICS, size=50_000)
        errors = await post(puppet, [*good[:5], *large, *good[5:]])
        assert [error.hash for error in errors] == [envelope.hash for envelope in large]
        assert server.counters["envelopes_too_large"] == 3
        assert server.store.archive.stat().envelopes == server.relay.pool.envelopes == 10


@asynchronous
async def test_a_raised_pow_is_told_and_demanded_a_little_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode)
        envelopes = sorted(make(40, TOPICS), key=lambda envelope: envelope.pow)
        least = envelopes[30].pow
        server.set_min_pow(least)
        update = await puppet.packet(Code.STATUS_UPDATE)
        told = WakuDialect(1).decode_update(Code.STATUS_UPDATE, update)
        assert told == StatusOptions(pow=least)
        assert await post(puppet, envelopes[:10]) == []
        assert server.counters["envelopes_low_pow"] == 0
        monkeypatch.setattr("wakumail.node.node.TOLERANCE", 0.0)
        server.set_min_pow(least)
        await eventually(lambda: server.node.status.rules.min_pow == least)
        low = [envelope for envelope in envelopes[10:] if envelope.pow < least]
        errors = await post(puppet, envelopes[10:])
        assert [error.hash for error in errors] == [envelope.hash for envelope in low]
        good = 40 - len(low)
        assert server.counters["envelopes_low_pow"] == 40 - good
        assert server.store.archive.stat().envelopes == server.relay.pool.envelopes == good


@asynchronous
async def test_nothing_live_goes_to_a_peer_before_its_status(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        await post(await Puppet.ready(enode), make(5, TOPICS))
        silent = await Puppet.dial(enode)
        silent.waku = (await silent.until(Established)).capabilities[0]
        assert (await silent.until(Packet)).code == Code.STATUS
        options = StatusOptions(pow=0.0)
        await (await Puppet.ready(enode, options=options)).packet(Code.MESSAGES)
        assert server.counters["packets_relayed"] == 1
        silent.send(Code.STATUS, WakuDialect(1).encode_status(options))
        assert len(parse(await silent.packet(Code.MESSAGES))) == 5


@pytest.mark.parametrize("form", Form)
@asynchronous
async def test_answers_every_form_in_its_dialect(tmp_path: Path, form: Form) -> None:
    async with mailserver(tmp_path) as (_, enode):
        puppet = await Puppet.ready(enode)
        envelopes = make(50, TOPICS)
        await post(puppet, envelopes)
        wanted = newest_first([e for e in envelopes if e.topic == TOPICS[0]])
        packet, request_id = build(form, topics=TOPICS[:1], limit=5)
        puppet.send(Code.P2P_REQUEST, packet)
        got, _, completion, payload = await answer(puppet)
        assert got == wanted[:5]
        assert (completion.request_id, completion.last_hash) == (request_id, wanted[4].hash)
        assert len(completion.cursor) == 36
        assert (payload[0] >= 0xC0) == (form in (Form.R5, Form.R6))
        packet, _ = build(form, topics=TOPICS[:1], cursor=completion.cursor, limit=1000)
        puppet.send(Code.P2P_REQUEST, packet)
        got, _, completion, _ = await answer(puppet)
        assert got == wanted[5:]
        assert completion.cursor == b""


@asynchronous
async def test_one_packet_per_envelope_without_batch(tmp_path: Path) -> None:
    """Of pages that hold many: a page of one envelope plans the query anew for each."""
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode)
        envelopes = make(120, TOPICS)
        await post(puppet, envelopes)
        packet, _ = build(bloom=b"\xff" * 64, batch=False, limit=100)
        puppet.send(Code.P2P_REQUEST, packet)
        answered, counts, completion, _ = await answer(puppet)
        assert answered == newest_first(envelopes)[:100]
        assert counts == [1] * 100
        assert completion.cursor
        assert server.counters["envelopes_delivered"] == 100
        size = sum(len(messages([each])) for each in answered)
        assert server.counters["bytes_delivered"] == size
        assert server.history is not None
        assert server.history.answer_bytes.sum == size
        assert sum(server.history.read_seconds.counts) == 1
        packet, _ = build(bloom=b"\xff" * 64, batch=False, limit=100, cursor=completion.cursor)
        puppet.send(Code.P2P_REQUEST, packet)
        answered, counts, completion, _ = await answer(puppet)
        assert answered == newest_first(envelopes)[100:]
        assert counts == [1] * 20
        assert not completion.cursor


@asynchronous
async def test_packets_stay_below_their_limit(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (_, enode):
        puppet = await Puppet.ready(enode)
        envelopes = make(40, TOPICS, size=100_000)
        await post(puppet, envelopes)
        packet, _ = build(bloom=b"\xff" * 64)
        puppet.send(Code.P2P_REQUEST, packet)
        sizes = []
        while (event := await puppet.until(Packet)).code == Code.P2P_MESSAGE:
            sizes.append(len(event.payload))
        assert max(sizes) <= 1 << 20
        assert len(sizes) < 10
        assert sum(sizes) > sum(len(e.rlp) for e in envelopes)


@pytest.mark.parametrize("form", [Form.R3, Form.R6])
@asynchronous
async def test_topics_win_over_the_bloom_and_no_topics_leave_it(tmp_path: Path, form: Form) -> None:
    async with mailserver(tmp_path) as (_, enode):
        puppet = await Puppet.ready(enode)
        all_topics = [bytes([number, 50 + number, 100 + number, 0]) for number in range(4)]
        envelopes = make(40, all_topics)
        await post(puppet, envelopes)
        bloom = bloom_of(all_topics[3:])
        for topics, wanted in ((all_topics[:2], all_topics[:2]), ([], all_topics[3:])):
            puppet.send(Code.P2P_REQUEST, build(form, topics=topics, bloom=bloom)[0])
            expected = newest_first([e for e in envelopes if e.topic in wanted])
            assert (await answer(puppet))[0] == expected


@pytest.mark.parametrize("form", [Form.R5, Form.R6])
@asynchronous
async def test_a_completion_is_the_list_of_the_specification(tmp_path: Path, form: Form) -> None:
    """Request id, last hash and cursor. The cursor is empty if nothing remains."""
    async with mailserver(tmp_path) as (_, enode):
        puppet = await Puppet.ready(enode)
        envelopes = newest_first(make(10, TOPICS))
        await post(puppet, envelopes)
        request, cursor = build(form, topics=TOPICS, limit=6)[0], b""
        for page in (envelopes[:6], envelopes[6:]):
            puppet.send(Code.P2P_REQUEST, request)
            got, _, completion, payload = await answer(puppet)
            assert got == page
            cursor = completion.cursor
            assert rlp.decode(payload) == [keccak256(request), page[-1].hash, cursor]
            assert bool(cursor) == (page[-1] is not envelopes[-1])
            request = build(form, topics=TOPICS, cursor=cursor, limit=6)[0]


@asynchronous
async def test_requests_are_of_direct_peers_and_go_no_further(tmp_path: Path) -> None:
    """A relayed request is an envelope like any other, and a request is never relayed."""
    async with mailserver(tmp_path) as (server, enode):
        puppet, other = await Puppet.ready(enode), await Puppet.ready(enode)
        await post(puppet, make(3, TOPICS))
        puppet.send(Code.P2P_REQUEST, build(topics=TOPICS)[0])
        assert len((await answer(puppet))[0]) == 3
        assert server.relay.pool.envelopes == server.counters["envelopes_received"] == 3
        request = Envelope.decode(build(topics=TOPICS)[0])
        assert await post(other, [request]) == []
        assert server.counters["requests_received"] == 1
        assert server.store.archive.contains(request.created, request.hash)


@asynchronous
async def test_only_the_requester_is_answered(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (_, enode):
        one = await Puppet.ready(enode)
        other = await Puppet.ready(enode, options=StatusOptions(topic_interest=()))
        await post(one, make(10, TOPICS))
        packet, _ = build(topics=TOPICS)
        one.send(Code.P2P_REQUEST, packet)
        assert len((await answer(one))[0]) == 10
        other.send(Code.MESSAGES, messages([]))
        assert (await other.until(Packet)).code == Code.MESSAGE_RESPONSE


@asynchronous
async def test_requests_of_a_peer_run_in_order_and_some_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mailserver(tmp_path, mail={"max_waiting": 3}) as (server, enode):
        puppet = await Puppet.ready(enode)
        await post(puppet, make(10, TOPICS))
        read_page = server.store.pages.read
        answering, all_came = asyncio.Event(), asyncio.Event()

        async def page_when_all_came(*arguments: Any, **named: Any) -> Page:
            answering.set()
            await all_came.wait()
            return await read_page(*arguments, **named)

        monkeypatch.setattr(server.store.pages, "read", page_when_all_came)
        requests = [build(Form.R1, topics=TOPICS, request_id=bytes([n] * 32)) for n in range(8)]
        for packet, _ in requests:
            puppet.send(Code.P2P_REQUEST, packet)
            await answering.wait()
        await eventually(lambda: server.counters["requests_received"] == len(requests))
        all_came.set()
        completions = [(await answer(puppet))[2] for _ in requests]
        served = [c.request_id for c in completions if c.error is None]
        refused = [c for c in completions if c.error is not None]
        assert served == [request_id for _, request_id in requests[:4]], (
            "one is answered, three wait"
        )
        assert {c.error for c in refused} == {"too many requests are waiting"}
        assert server.counters["requests_too_many_waiting"] == len(refused) == 4


@asynchronous
async def test_large_requests_that_wait_are_few(tmp_path: Path) -> None:
    """A peer that does not read its answers can leave at most MAX_REQUEST_SIZE bytes waiting."""
    async with mailserver(tmp_path) as (server, enode):
        await Puppet.ready(enode)
        (link,) = server.node.links.values()
        await eventually(lambda: link.ready)
        link.pause_writing()
        assert server.history is not None
        for size, waiting in ((100, 0), (MAX_WAITING_BYTES - 50, 1), (51, 1), (50, 2)):
            server.history.request(link, bytes(size))
            await asyncio.sleep(0)
            assert len(server.history._waiting[link]) == waiting
        assert server.counters["requests_too_many_waiting"] == 1
        link.resume_writing()
        await eventually(lambda: not server.history._waiting)  # type: ignore[union-attr]


@asynchronous
async def test_requests_that_are_far_too_large(tmp_path: Path) -> None:
    """One that names its id is refused; another ends the connection, and nothing is hashed."""
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode)
        plain = rlp.encode([b"i" * 32, 1, 2, bytes(MAX_REFUSED_REQUEST)])
        puppet.send(Code.P2P_REQUEST, plain)
        completion = (await answer(puppet))[2]
        assert completion.request_id == b"i" * 32
        assert completion.error == f"a request of more than {MAX_REQUEST_SIZE} bytes"
        assert server.counters["request_malformed"] == 1
        for garbage in (bytes(10 << 20), b"\xf8", b"\xc0" + bytes(1 << 20), b"\xff" * (1 << 20)):
            puppet.send(Code.P2P_REQUEST, garbage.ljust(MAX_REFUSED_REQUEST + 1, b"\0"))
            await puppet.until(Closed)
            puppet = await Puppet.ready(enode)
        assert server.counters["request_too_large"] == 4
        assert server.counters["requests_failed"] == server.counters["requests_received"] == 5


@asynchronous
async def test_request_rate_limit(tmp_path: Path) -> None:
    async with mailserver(tmp_path, mail={"request_rate": 0.001}) as (server, enode):
        puppet = await Puppet.ready(enode)
        results = []
        for form in (Form.R3, Form.R3, Form.R5):
            packet, request_id = build(form, topics=TOPICS)
            puppet.send(Code.P2P_REQUEST, packet)
            completion = (await answer(puppet))[2]
            assert completion.request_id == request_id
            results.append(completion.error)
        assert results == [None, "request rate limit exceeded", None]
        assert server.counters["requests_rate_limited"] == 2
        again = await Puppet.ready(enode)
        again.send(Code.P2P_REQUEST, build(topics=TOPICS)[0])
        assert (await answer(again))[2].error == "request rate limit exceeded"


@asynchronous
async def test_every_failed_request_is_answered(tmp_path: Path) -> None:
    """Two of them crash status-go: a bloom of 63 bytes, and an upper time of 2^32 - 1."""
    now = int(time.time())
    bad: list[tuple[bytes, str]] = [
        (b"garbage", "request_malformed"),
        (rlp.encode([]), "request_malformed"),
        (build(key=bytes(32), topics=TOPICS)[0], "request_unopened"),
        (build(topics=TOPICS, lower=now, upper=now - 1)[0], "request_range_inverted"),
        (build_wrong(bloom=bytes(63)), "request_bloom_invalid"),
        (build_wrong(topics=TOPICS, cursor=b"x" * 35), "request_cursor_invalid"),
        (build()[0], "request_filter_missing"),
        (build_wrong(topics=[b"%04d" % n for n in range(1001)]), "request_topics_too_many"),
    ]
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode)
        for packet, counter in bad:
            puppet.send(Code.P2P_REQUEST, packet)
            envelopes, _, completion, payload = await answer(puppet)
            assert not envelopes
            assert completion.error, counter
            assert completion.request_id == identify(packet)
            assert b"ERROR=" in payload
            assert server.counters[counter] >= 1, dict(server.counters)
        puppet.send(Code.P2P_REQUEST, build(topics=TOPICS, lower=0, upper=0xFFFFFFFF)[0])
        assert (await answer(puppet))[2].error is None
        puppet.send(Code.P2P_REQUEST, build_wrong(Form.R5, bloom=bytes(63)))
        completion = (await answer(puppet))[2]
        assert (completion.last_hash, completion.cursor) == (ZERO_HASH, b"")
        assert server.counters["requests_failed"] == len(bad) + 1


@asynchronous
async def test_signature_and_pow_can_be_demanded(tmp_path: Path) -> None:
    policy = request_policy(require_signature=True)
    async with mailserver(tmp_path, mail={"policy": policy}) as (server, enode):
        puppet = await Puppet.ready(enode)
        puppet.send(Code.P2P_REQUEST, build(topics=TOPICS)[0])
        assert (await answer(puppet))[2].error == "the request is not signed"
        assert server.counters["request_unsigned"] == 1
    policy = request_policy(request_min_pow=1000.0)
    async with mailserver(tmp_path, mail={"policy": policy}) as (server, enode):
        puppet = await Puppet.ready(enode)
        puppet.send(Code.P2P_REQUEST, build(topics=TOPICS)[0])
        assert "PoW" in str((await answer(puppet))[2].error)


@asynchronous
async def test_waku_0_and_devp2p_4(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (_, enode):
        old = (Capability("waku", 0),)
        puppet = await Puppet.ready(enode, capabilities=old, p2p_version=4)
        assert puppet.waku.version == 0
        envelopes = make(10, TOPICS)
        assert await post(puppet, envelopes) == []
        puppet.send(Code.P2P_REQUEST, build(topics=TOPICS)[0])
        assert (await answer(puppet))[0] == newest_first(envelopes)


@asynchronous
async def test_while_the_disk_refuses_nothing_is_confirmed_or_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakumail.archive.writer_thread.COMMIT_RETRY_INTERVAL", 0.001)
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode)
        first, second = make(10, TOPICS, seed=1), make(10, TOPICS, seed=2)
        await post(puppet, first)
        full = FullDisk(server.store)
        puppet.send(Code.MESSAGES, messages(second))
        await eventually(lambda: server.counters["commits_failed"] >= 3)
        assert server.store.degraded == "no room"
        puppet.send(Code.P2P_REQUEST, build(topics=TOPICS)[0])
        assert (await answer(puppet))[0] == newest_first(first)
        full.mend()
        await puppet.packet(Code.BATCH_ACK)
        assert server.store.degraded == ""
        puppet.send(Code.P2P_REQUEST, build(topics=TOPICS)[0])
        assert (await answer(puppet))[0] == newest_first(first + second)


@asynchronous
async def test_who_has_not_told_its_status_is_no_peer_yet(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        await Puppet.ready(enode)
        await (await Puppet.dial(enode)).until(Established)
        await eventually(lambda: len(server.node.links) == 2)
        await eventually(lambda: len(server.node.peers) == 1)
