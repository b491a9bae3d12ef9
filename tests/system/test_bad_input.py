"""Input of strangers: each case has its outcome and its counter, and others are served."""

import asyncio
import os
import struct
from collections.abc import Callable
from pathlib import Path

import cramjam
import pytest

from tests.support.disks import FullDisk, SlowDisk
from tests.support.envelopes import make
from tests.support.exchanges import TOPICS, build, messages, post, works
from tests.support.patience import PATIENCE, asynchronous, eventually
from tests.support.puppet import Puppet, mailserver
from wakumail.base import rlp
from wakumail.devp2p.connection_events import Established
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.frame_reader import MAX_RUN_SIZE
from wakumail.devp2p.handshake import Initiator
from wakumail.devp2p.keys import generate, public_key
from wakumail.errors import DisconnectReason
from wakumail.waku.interest import Interest
from wakumail.waku.packets import Code, StatusOptions


async def raw(enode: Enode, data: bytes) -> bytes:
    """Send bytes to a new socket; returns all bytes until it is closed."""
    reader, writer = await asyncio.open_connection(enode.host, enode.port)
    writer.write(data)
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def auth(enode: Enode) -> bytes:
    return Initiator(generate(os.urandom), public_key(enode.node_id), os.urandom).auth


GARBLED_AUTH: dict[str, Callable[[bytes], bytes]] = {
    "random bytes": lambda packet: packet[:2] + os.urandom(len(packet) - 2),
    "http": lambda packet: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "another size": lambda packet: (len(packet) - 3).to_bytes(2, "big") + packet[2:],
    "a size over the limit": lambda packet: b"\xff\xff" + packet[2:],
    "a size of nothing": lambda packet: bytes(2) + packet[2:],
    "a flipped bit": lambda packet: packet[:150] + bytes([packet[150] ^ 1]) + packet[151:],
    "no point of the curve": lambda packet: packet[:3] + bytes(64) + packet[67:],
}


@pytest.mark.parametrize("garble", GARBLED_AUTH.values(), ids=list(GARBLED_AUTH))
@asynchronous
async def test_a_garbled_auth_closes_without_a_word(
    tmp_path: Path, garble: Callable[[bytes], bytes]
) -> None:
    async with mailserver(tmp_path) as (server, enode):
        assert await raw(enode, garble(auth(enode))) == b""
        assert server.counters["handshake_failed"] == 1
        await works(enode)


@asynchronous
async def test_a_replayed_auth_gains_nothing(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        packet = auth(enode)
        assert len(await raw(enode, packet + bytes(64))) > 100
        assert len(await raw(enode, packet + bytes(64))) > 100
        assert server.counters["frame_invalid"] == 2
        assert server.counters["peers_connected"] == 0


@asynchronous
async def test_a_silent_stranger_is_given_up(tmp_path: Path) -> None:
    async with mailserver(tmp_path, connection={"handshake_timeout": 0.05}) as (server, enode):
        assert await raw(enode, auth(enode)[:100]) == b""
        assert server.counters["handshake_timeout"] == 1


@asynchronous
async def test_handshakes_in_progress_are_bounded(tmp_path: Path) -> None:
    """A silent connection gives way to a new one."""
    async with mailserver(tmp_path, node={"max_handshakes": 3}) as (server, enode):
        silent = [await asyncio.open_connection(enode.host, enode.port) for _ in range(10)]
        await eventually(lambda: server.counters["connections_crowded_out"] == 7)
        await works(enode)
        for _, writer in silent:
            writer.close()


@asynchronous
async def test_whom_the_node_refuses(tmp_path: Path) -> None:
    async with mailserver(tmp_path, node={"maxpeers": 2}) as (server, enode):
        own_key = server.node.config.connection.node_key
        itself = await Puppet.dial(enode, key=own_key)
        assert (await itself.closed()).reason == DisconnectReason.SELF_CONNECTION
        key = generate(os.urandom)
        first = await Puppet.ready(enode, key=key)
        twin = await Puppet.dial(enode, key=key)
        assert (await twin.closed()).reason == DisconnectReason.ALREADY_CONNECTED
        await Puppet.ready(enode)
        third = await Puppet.dial(enode)
        assert (await third.closed()).reason == DisconnectReason.TOO_MANY_PEERS
        for name in ("self", "duplicate", "full"):
            assert server.counters[f"connections_refused_{name}"] == 1
        first.hang_up()
        await eventually(lambda: len(server.node.links) == 1)
        await works(enode)


@asynchronous
async def test_a_peer_that_comes_back_replaces_its_dead_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old connection does not answer the ping, so the next try gets in."""
    monkeypatch.setattr("wakumail.devp2p.connection.PROBE_TIMEOUT", 0.05)
    # No other timer of the connection ends it before the test fails.
    lasting = {"handshake_timeout": 2.0 * PATIENCE, "idle_timeout": 2.0 * PATIENCE}
    async with mailserver(tmp_path, connection=lasting) as (server, enode):
        key = generate(os.urandom)
        dead = await Puppet.ready(enode, key=key)
        refused = await Puppet.dial(enode, key=key)
        assert (await refused.closed()).reason == DisconnectReason.ALREADY_CONNECTED
        await eventually(lambda: not server.node.links)
        assert server.counters["ping_timeout"] == 1
        await Puppet.ready(enode, key=key)
        dead.hang_up()


BAD_STATUS: dict[str, tuple[bytes, str]] = {
    "no list": (rlp.encode(b"status"), "status_malformed"),
    "not RLP": (b"\xc2\x01", "status_malformed"),
    "PoW NaN": (rlp.encode([[0, struct.pack(">d", float("nan"))]]), "status_pow_invalid"),
    "PoW infinite": (rlp.encode([[0, struct.pack(">d", float("inf"))]]), "status_pow_invalid"),
    "PoW negative": (rlp.encode([[0, struct.pack(">d", -1.0)]]), "status_pow_invalid"),
    "a bloom of 63 bytes": (rlp.encode([[1, bytes(63)]]), "status_bloom_invalid"),
    "10,001 topics": (rlp.encode([[5, [b"topi"] * 10_001]]), "status_topics_too_many"),
    "deep": (b"\xc1" * 50 + b"\xc0", "status_malformed"),
}


@pytest.mark.parametrize(("status", "counter"), BAD_STATUS.values(), ids=list(BAD_STATUS))
@asynchronous
async def test_a_bad_status_disconnects(tmp_path: Path, status: bytes, counter: str) -> None:
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.dial(enode)
        puppet.waku = (await puppet.until(Established)).capabilities[0]
        puppet.send(Code.STATUS, status)
        assert (await puppet.closed()).reason == DisconnectReason.SUBPROTOCOL_ERROR
        assert server.counters[counter] == 1
        await works(enode)


@asynchronous
async def test_packets_before_the_status_are_not_taken(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.dial(enode)
        puppet.waku = (await puppet.until(Established)).capabilities[0]
        puppet.send(Code.MESSAGES, messages(make(3, TOPICS)))
        assert (await puppet.closed()).reason == DisconnectReason.SUBPROTOCOL_ERROR
        assert server.counters["packets_before_status"] == 1
        assert server.counters["envelopes_received"] == 0


@asynchronous
async def test_no_status_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wakumail.waku.peer.STATUS_TIMEOUT", 0.05)
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.dial(enode)
        assert (await puppet.closed()).reason == DisconnectReason.SUBPROTOCOL_ERROR
        assert server.counters["packets_before_status"] == 1


IGNORED: dict[str, tuple[int, bytes, str]] = {
    "an unknown code": (99, b"\xc0", "packets_unknown"),
    "a second status": (Code.STATUS, b"\xc0", "packets_status_repeated"),
    "a bad status update": (Code.STATUS_UPDATE, b"\x80", "packets_status_update_malformed"),
    "history nobody asked for": (Code.P2P_MESSAGE, b"\xc0", "packets_unasked"),
    "a completion out of nowhere": (Code.P2P_REQUEST_COMPLETE, b"\x80", "packets_unasked"),
    "an envelope cut short": (
        Code.MESSAGES,
        b"\xd1" + make(1, TOPICS)[0].rlp[:17],
        "packets_messages_malformed",
    ),
    "deep RLP": (Code.MESSAGES, b"\xc1" * 100_000, "packets_messages_malformed"),
    "envelopes of the wrong shape": (
        Code.MESSAGES,
        rlp.encode([[1, 2, b"topic", b"", 0]]),
        "packets_messages_malformed",
    ),
    "an integer with a leading zero": (
        Code.MESSAGES,
        rlp.encode([[b"\0\1", 2, b"topi", b"", 0]]),
        "packets_messages_malformed",
    ),
}


@pytest.mark.parametrize(("code", "payload", "counter"), IGNORED.values(), ids=list(IGNORED))
@asynchronous
async def test_what_is_ignored(tmp_path: Path, code: int, payload: bytes, counter: str) -> None:
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode)
        puppet.send(code, payload)
        assert await post(puppet, make(5, TOPICS)) == []
        assert server.counters[counter] == 1


@asynchronous
async def test_a_status_update_is_applied(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode)
        options = StatusOptions(pow=0.5, topic_interest=(TOPICS[0],))
        puppet.update(options)
        await post(puppet, [])
        (link,) = server.node.links.values()
        assert link.peer.settings.pow == 0.5
        assert link.peer.settings.interest == Interest(topics=TOPICS[:1])


def inflating_to(size: int) -> bytes:
    """Snappy data that claims to decompress to `size` bytes."""
    length = bytearray()
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(length + bytes([size])) + b"\x00x"


BREACHES: dict[str, tuple[Callable[[Puppet], None], str]] = {
    "a packet over the limit": (
        lambda puppet: puppet.send(Code.MESSAGES, bytes((10 << 20) + 1)),
        "packet_too_large",
    ),
    "a snappy bomb": (
        lambda puppet: frame(puppet, bytes(cramjam.snappy.compress_raw(bytes(64 << 20)))),
        "packet_too_large",
    ),
    "a snappy size of 4 GiB": (lambda p: frame(p, inflating_to(0xFFFFFFFF)), "packet_too_large"),
    "snappy that lies": (lambda p: frame(p, inflating_to(100)), "packet_malformed"),
    "bytes that are no snappy": (lambda p: frame(p, b"\xff" * 20), "packet_malformed"),
    "a code beyond the capability": (
        lambda puppet: frame(puppet, b"\x00", message_id=0x10 + 128),
        "protocol_breach",
    ),
    "a second hello": (lambda puppet: frame(puppet, b"\x00", message_id=0), "protocol_breach"),
}


def encrypt(puppet: Puppet, data: bytes, message_id: int) -> bytes:
    """A frame with this data, unchanged."""
    writer = puppet.connection.writer
    assert writer is not None
    writer.add(data, rlp.encode(message_id))
    return writer.encrypt()


def frame(puppet: Puppet, data: bytes, message_id: int = 0x11) -> None:
    """Send frame data unchanged."""
    puppet.write(encrypt(puppet, data, message_id))


@pytest.mark.parametrize(("breach", "counter"), BREACHES.values(), ids=list(BREACHES))
@asynchronous
async def test_breaches_of_the_protocol(
    tmp_path: Path, breach: Callable[[Puppet], None], counter: str
) -> None:
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode)
        breach(puppet)
        assert (await puppet.closed()).reason == DisconnectReason.BREACH_OF_PROTOCOL
        assert server.counters[counter] == 1
        await works(enode)


GARBLED_FRAME: dict[str, Callable[[bytes], bytes]] = {
    "in the header": lambda f: bytes([f[0] ^ 1]) + f[1:],
    "in the header's MAC": lambda f: f[:20] + bytes([f[20] ^ 1]) + f[21:],
    "in the body": lambda f: f[:40] + bytes([f[40] ^ 1]) + f[41:],
    "in the body's MAC": lambda f: f[:-1] + bytes([f[-1] ^ 1]),
    "sent twice": lambda f: f + f,
}


@pytest.mark.parametrize("garble", GARBLED_FRAME.values(), ids=list(GARBLED_FRAME))
@asynchronous
async def test_a_garbled_frame_closes_at_once(
    tmp_path: Path, garble: Callable[[bytes], bytes]
) -> None:
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode)
        puppet.connection.send(puppet.waku, Code.MESSAGES, messages(make(2, TOPICS)))
        puppet.write(garble(b"".join(puppet.connection.data_to_send())))
        assert (await puppet.closed()).by_peer
        assert server.counters["frame_invalid"] == 1
        await works(enode)


@asynchronous
async def test_a_peer_that_never_reads_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakumail.node.outbox.WRITE_TIMEOUT", 0.2)
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode)
        await post(puppet, make(40, TOPICS, size=200_000))
        for _ in range(10):
            puppet.send(Code.P2P_REQUEST, build(bloom=b"\xff" * 64)[0])
        await eventually(lambda: server.counters["connections_stalled"] == 1)
        await eventually(lambda: not server.node.links)
        await works(enode)


@asynchronous
async def test_unfinished_frames_are_bounded_over_all_peers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakumail.node.memory.MAX_UNFINISHED_FRAMES", 1 << 20)
    async with mailserver(tmp_path) as (server, enode):
        for _ in range(4):
            puppet = await Puppet.ready(enode)
            whole = encrypt(puppet, bytes(5 << 20), 0x11)
            puppet.write(whole[: 400 << 10])
        await eventually(lambda: server.counters["connections_crowded_out"] >= 1)
        await works(enode)


@asynchronous
async def test_a_flood_of_one_peer_does_not_hold_up_another(tmp_path: Path) -> None:
    flood = 20_000
    async with mailserver(tmp_path) as (server, enode):
        greedy, patient = await Puppet.ready(enode), await Puppet.ready(enode)
        for _ in range(flood):
            greedy.connection.send(greedy.waku, 99, b"\xc0")
        greedy.flush()
        await eventually(lambda: server.counters["packets_unknown"] > 0)
        posting = asyncio.create_task(post(patient, make(5, TOPICS)))
        await eventually(lambda: server.counters["envelopes_received"] == 5)
        assert server.counters["packets_unknown"] < flood
        assert await posting == []  # the disk may take longer than the flood
        await eventually(lambda: server.counters["packets_unknown"] == flood)


@asynchronous
async def test_a_slow_disk_holds_those_who_feed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue of all peers is bounded, nothing is lost, and requests are answered."""
    most, peers, parts = 300_000, 4, 60
    monkeypatch.setattr("wakumail.archive.store.MAX_UNCOMMITTED_BYTES", most)
    async with mailserver(tmp_path) as (server, enode):
        slow = SlowDisk(server.store)
        puppets = [await Puppet.ready(enode) for _ in range(peers)]
        for number, puppet in enumerate(puppets):
            for part in range(parts):
                packet = messages(make(40, TOPICS, seed=parts * number + part))
                puppet.send(Code.MESSAGES, packet)
        await eventually(lambda: server.store.full)
        await works(enode)
        # Each peer may add what is read at once before its reading pauses.
        assert server.store.queued_bytes < most + peers * 2 * MAX_RUN_SIZE
        slow.writes.set()
        await eventually(lambda: server.counters["envelopes_archived"] == peers * parts * 40)
        assert server.counters["envelopes_shed"] == 0


@asynchronous
async def test_a_peer_that_hangs_up_while_it_fills_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its unread packets are dropped: they would bring the queue over its bound."""
    monkeypatch.setattr("wakumail.archive.store.MAX_UNCOMMITTED_BYTES", 50_000)
    monkeypatch.setattr("wakumail.base.turns.TURN_TIME", 0.0)
    async with mailserver(tmp_path) as (server, enode):
        slow = SlowDisk(server.store)
        puppet = await Puppet.ready(enode)
        for part in range(30):
            puppet.send(Code.MESSAGES, messages(make(40, TOPICS, seed=part)))
        await eventually(lambda: server.counters["envelopes_received"] > 0)
        puppet.hang_up()
        slow.writes.set()
        await eventually(lambda: not server.node.links)
        await works(enode)


@asynchronous
async def test_a_full_disk_sheds_and_goes_on_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakumail.archive.writer_thread.COMMIT_RETRY_INTERVAL", 0.001)
    monkeypatch.setattr("wakumail.archive.store.MAX_UNCOMMITTED_BYTES", 100_000)
    async with mailserver(tmp_path) as (server, enode):
        full = FullDisk(server.store)
        puppet = await Puppet.ready(enode)
        for part in range(30):
            puppet.send(Code.MESSAGES, messages(make(40, TOPICS, seed=part)))
        await eventually(lambda: server.counters["envelopes_received"] == 30 * 40)
        puppet.send(Code.P2P_REQUEST, build(topics=TOPICS)[0])
        await puppet.packet(Code.P2P_REQUEST_COMPLETE)
        await works(enode)
        shed = server.counters["envelopes_shed"]
        assert 0 < shed < 30 * 40
        assert server.store.queued_bytes < 200_000
        full.mend()
        await eventually(lambda: server.counters["envelopes_archived"] == 30 * 40 - shed)
        assert await post(await Puppet.ready(enode), make(40, TOPICS, seed=99)) == []


@asynchronous
async def test_hanging_up_at_every_stage(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        (await Puppet.dial(enode)).hang_up()
        puppet = await Puppet.dial(enode)
        await puppet.until(Established)
        puppet.hang_up()
        puppet = await Puppet.ready(enode)
        for _ in range(5):
            puppet.connection.send(puppet.waku, Code.P2P_REQUEST, build(topics=TOPICS)[0])
        puppet.flush()
        puppet.hang_up()
        await eventually(lambda: server.counters["connections_lost"] == 3)
        await works(enode)
