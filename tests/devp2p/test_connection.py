import itertools
import os
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.connections import (
    ALICE_CONFIG,
    ALICE_ID,
    BOB,
    BOB_CONFIG,
    BOB_ID,
    MAX_PACKET,
    NOW,
    SHARED,
    RawPeer,
    Side,
    both_versions,
    deliver,
    pair,
    transfer,
)
from tests.vectors import VECTORS
from wakumail.base import rlp
from wakumail.base.snappy import store_prefix
from wakumail.devp2p import handshake
from wakumail.devp2p.connection import (
    MAX_UNEVENTFUL,
    PACKET_COST,
    PING_SLACK,
    PROBE_TIMEOUT,
    Connection,
    ConnectionConfig,
)
from wakumail.devp2p.connection_events import Authenticated, Closed, Established, Packet, Uneventful
from wakumail.devp2p.handshake import HandshakeStep, Response, Secrets
from wakumail.devp2p.keys import PublicKey, private_key
from wakumail.devp2p.packets import (
    CAPABILITY_LENGTHS,
    MAX_P2P_PACKET,
    SYNC,
    WAKU,
    Capability,
    Hello,
    Shared,
)
from wakumail.errors import (
    DisconnectReason,
    HandshakeTimeout,
    PingTimeout,
    RlpError,
    UselessPeer,
)

GO = VECTORS["rlpx"]


# -- two of us ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b"), [(5, 5), (5, 4), (4, 5), (4, 4)])
def test_packets_both_ways(a: int, b: int) -> None:
    alice, bob = pair(replace(ALICE_CONFIG, p2p_version=a), replace(BOB_CONFIG, p2p_version=b))
    assert alice.events == [
        Authenticated(BOB_ID),
        Established(Hello(b, "wakumail/bob", WAKU, 30303, BOB_ID), (SHARED,)),
    ]
    assert bob.events == [
        Authenticated(ALICE_ID),
        Established(Hello(a, "wakumail/alice", WAKU, 0, ALICE_ID), (SHARED,)),
    ]
    payloads = [b"\xc0", b"", bytes(15), os.urandom(100_000), bytes(MAX_PACKET)]
    for code, payload in enumerate(payloads):
        alice.connection.send(SHARED, code, payload)
        bob.connection.send(SHARED, 127 - code, payload)
    prefixes = [store_prefix(len(payload)) if a == b == 5 else b"" for payload in payloads]
    sizes = [1 + len(prefix) + len(data) for prefix, data in zip(prefixes, payloads, strict=True)]
    assert alice.pending == sum(48 + -(-size // 16) * 16 for size in sizes)
    transfer(alice, bob)
    assert bob.packets == list(enumerate(payloads))
    assert alice.packets == [(127 - code, payload) for code, payload in enumerate(payloads)]
    assert all(type(payload) is bytes for _, payload in bob.packets)


@pytest.mark.parametrize(("a", "b"), [(5, 5), (5, 4), (4, 4)])
def test_each_item_of_a_list_in_a_packet_of_its_own(a: int, b: int) -> None:
    alice, bob = pair(replace(ALICE_CONFIG, p2p_version=a), replace(BOB_CONFIG, p2p_version=b))
    items = [rlp.encode(os.urandom(size)) for size in (0, 1, 54, 55, 500, 3000)]
    parts = [rlp.join_list([item]) for item in items]
    sent = alice.connection.send_each(SHARED, 127, rlp.join_list(items))
    assert sent == sum(map(len, parts))
    assert alice.connection.send_each(SHARED, 127, rlp.join_list([])) == 0
    transfer(alice, bob)
    assert bob.packets == [(127, part) for part in parts]
    with pytest.raises(RlpError):
        alice.connection.send_each(SHARED, 127, b"none")
    alice.connection.disconnect(DisconnectReason.REQUESTED)
    alice.take()
    assert alice.connection.send_each(SHARED, 127, rlp.join_list(items)) == 0
    assert alice.pending == 0


def test_packets_of_several_mib() -> None:
    large = replace(BOB_CONFIG, max_packet=10 << 20)
    alice, bob = pair(bob_config=large)
    payload = os.urandom(9 << 20)
    alice.connection.send(SHARED, 1, payload)
    alice.connection.send(SHARED, 1, b"small")
    transfer(alice, bob)
    assert bob.packets == [(1, payload), (1, b"small")]


def test_several_shared_capabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    eth, snap = Capability("eth", 68), Capability("snap", 1)
    monkeypatch.setitem(CAPABILITY_LENGTHS, eth, 17)
    monkeypatch.setitem(CAPABILITY_LENGTHS, snap, 8)
    caller = replace(ALICE_CONFIG, capabilities=(snap, *WAKU, eth))
    alice, bob = pair(caller, replace(BOB_CONFIG, capabilities=(eth, WAKU[0])))
    shared = (Shared("eth", 68, 0x10, 17), Shared("waku", 0, 0x21, 128))
    for capability in shared:
        alice.connection.send(capability, capability.length - 1, b"last")
        alice.connection.send(capability, 0, b"first")
    transfer(alice, bob)
    assert bob.events[1:] == [
        Established(caller.hello_for(BOB_ID), shared),
        Packet(shared[0], 16, b"last"),
        Packet(shared[0], 0, b"first"),
        Packet(shared[1], 127, b"last"),
        Packet(shared[1], 0, b"first"),
    ]


def test_a_reserved_capability_is_offered_to_those_named() -> None:
    allowed: set[bytes] = set()
    own = replace(ALICE_CONFIG, reserved={SYNC: {BOB_ID}})
    others = replace(BOB_CONFIG, reserved={SYNC: allowed})
    alice, bob = pair(own, others)
    assert bob.events[-1] == Established(own.hello_for(BOB_ID), (SHARED,))
    assert alice.events[-1] == Established(BOB_CONFIG.hello_for(ALICE_ID), (SHARED,))
    allowed.add(ALICE_ID)
    alice, bob = pair(own, others)
    shared = (SHARED, Shared("wakusync", 1, 0x90, 16))
    assert alice.events[-1] == Established(others.hello_for(ALICE_ID), shared)
    assert bob.events[-1] == Established(own.hello_for(BOB_ID), shared)


def test_who_is_not_named_gets_the_hello_of_a_node_without_the_capability() -> None:
    plain, named = RawPeer(BOB_CONFIG), RawPeer(replace(BOB_CONFIG, reserved={SYNC: {BOB_ID}}))
    assert plain.hello == named.hello


def test_foreign_capabilities_are_ignored() -> None:
    foreign = tuple(Capability(*pair) for pair in (("eth", 68), ("snap", 1), ("xyz", 2)))
    peer = RawPeer(greets=False)
    hello = Hello(5, "geth", (*foreign, WAKU[0]), 0, ALICE_ID)
    peer.say(0, hello.encode())
    assert peer.bob.events[-1] == Established(hello, (Shared("waku", 0, 0x10, 128),))


@given(st.lists(st.integers(1, 700), min_size=1, max_size=8), st.integers(1, 2**64))
@settings(max_examples=20, deadline=None)
def test_cuts_of_the_stream_do_not_matter(sizes: list[int], seed: int) -> None:
    alice, bob = Side(ALICE_CONFIG, BOB.public_key, seed), Side(BOB_CONFIG, seed=seed + 1)
    cycle = itertools.cycle(sizes)
    for step in range(5):
        for ours, theirs in ((alice, bob), (bob, alice)):
            left = ours.take()
            while left:
                size = next(cycle)
                theirs.receive(left[:size])
                left = left[size:]
        if step == 2:
            alice.connection.send(SHARED, 1, alice.random(3000))
            alice.connection.send(SHARED, 2, b"y")
    assert [(code, len(payload)) for code, payload in bob.packets] == [(1, 3000), (2, 1)]


def test_byte_by_byte() -> None:
    alice, bob = Side(ALICE_CONFIG, BOB.public_key), Side(BOB_CONFIG)
    for _ in range(3):
        for byte in alice.take():
            bob.receive(bytes([byte]))
        for byte in bob.take():
            alice.receive(bytes([byte]))
    assert len(alice.events) == len(bob.events) == 2


def test_one_packet_is_decoded_per_event() -> None:
    alice, bob = pair()
    for code in range(3):
        alice.connection.send(SHARED, code, b"payload")
    deliver(bob.connection, alice.take())
    for code in range(2):
        assert bob.connection.next_event() == Packet(SHARED, code, b"payload")
    bob.connection.disconnect(DisconnectReason.QUITTING)  # the third is unread, and stays so
    bob.pull()
    assert bob.closed == Closed(DisconnectReason.QUITTING, by_peer=False)
    assert bob.packets == []


# -- against recordings of Go ---------------------------------------------------------------------


def compute(connection: Connection) -> None:
    step = connection.next_event()
    assert isinstance(step, HandshakeStep)
    connection.handshake_computed(step.compute())


def recorded(side: str) -> Connection:
    """A connection that plays one side of the recorded conversation."""
    values = {name: bytes.fromhex(v) for name, v in GO.items() if name not in ("frames", "note")}
    mac = int.from_bytes(values["mac_secret"], "big")

    def seed(nonce: str, packet: str) -> bytes:
        mixed = mac ^ int.from_bytes(values[nonce], "big")
        return mixed.to_bytes(32, "big") + values[packet]

    to_recipient, to_initiator = seed("recipient_nonce", "auth"), seed("initiator_nonce", "ack")
    keys = values["aes_secret"], values["mac_secret"]
    initiator = PublicKey(values["initiator_pub"])

    class Recorded:
        auth = values["auth"]

        def __init__(self, *_: Any) -> None: ...

        def finish(self, ack: bytes) -> Secrets:
            assert ack == values["ack"]
            return Secrets(*keys, to_recipient, to_initiator)

    def respond(_key: Any, auth: bytes, _random: Any) -> Response:
        assert auth == values["auth"]
        return Response(values["ack"], Secrets(*keys, to_initiator, to_recipient), initiator)

    config = ConnectionConfig(private_key(values[f"{side}_priv"]), "test", 0, WAKU, MAX_PACKET)
    remote = PublicKey(values["recipient_pub"]) if side == "initiator" else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handshake, "Initiator", Recorded)
        patch.setattr(handshake, "respond", respond)
        connection = Connection(config, os.urandom, NOW, remote)
        packet = values["auth" if remote is None else "ack"]
        if remote is not None:
            compute(connection)
        deliver(connection, packet)
        compute(connection)
    assert values["ack" if remote is None else "auth"] in connection.data_to_send()
    return connection


@pytest.mark.parametrize(("side", "heard"), [("recipient", "i2r"), ("initiator", "r2i")])
def test_a_conversation_of_go(side: str, heard: str) -> None:
    end = Side(BOB_CONFIG)
    end.connection = recorded(side)
    end.pull()
    frames = [frame for frame in GO["frames"] if frame["dir"] == heard]
    for frame in frames:
        end.receive(bytes.fromhex(frame["wire"]))
    hello = Hello.decode(bytes.fromhex(frames[0]["plain"]))
    assert end.events[0] == Authenticated(hello.node_id)
    assert end.events[1] == Established(hello, (SHARED,))
    plain = [(frame["code"] - 0x10, bytes.fromhex(frame["plain"])) for frame in frames]
    assert end.packets == [(code, payload) for code, payload in plain if code >= 0]
    if side == "recipient":
        assert end.closed == Closed(DisconnectReason.QUITTING, by_peer=True)


# -- from the handshake to the hello --------------------------------------------------------------


def test_who_called_is_known_only_by_its_hello() -> None:
    """The auth packet does not count: it may name any node id."""
    alice, bob = Side(ALICE_CONFIG, BOB.public_key), Side(BOB_CONFIG)
    bob.receive(alice.take())
    assert bob.events == []
    alice.receive(bob.take())
    assert alice.events == [Authenticated(BOB_ID), alice.events[1]]
    bob.receive(alice.take())
    assert bob.events == [Authenticated(ALICE_ID), bob.events[1]]


def test_nothing_is_read_before_accept() -> None:
    alice, bob = Side(ALICE_CONFIG, BOB.public_key), Side(BOB_CONFIG)
    bob.accepts = False
    transfer(alice, bob)
    assert bob.events == [Authenticated(ALICE_ID)]
    alice.connection.send(SHARED, 0, b"early")
    transfer(alice, bob)
    assert bob.events == [Authenticated(ALICE_ID)]
    bob.connection.accept()
    transfer(alice, bob)
    assert isinstance(bob.events[1], Established)
    assert bob.packets == [(0, b"early")]
    bob.connection.accept()
    assert bob.pending == 0


@both_versions
def test_a_peer_may_be_refused_instead(version: int) -> None:
    alice, bob = Side(replace(ALICE_CONFIG, p2p_version=version), BOB.public_key), Side(BOB_CONFIG)
    bob.accepts = False
    transfer(alice, bob)
    bob.connection.disconnect(DisconnectReason.TOO_MANY_PEERS)
    transfer(alice, bob)
    assert alice.closed == Closed(DisconnectReason.TOO_MANY_PEERS, by_peer=True)
    assert bob.closed == Closed(DisconnectReason.TOO_MANY_PEERS, by_peer=False)


def test_disconnect_before_there_are_keys_is_silent() -> None:
    bob = Side(BOB_CONFIG)
    bob.connection.disconnect(DisconnectReason.QUITTING)
    bob.pull()
    assert bob.closed == Closed(DisconnectReason.QUITTING, by_peer=False)
    assert bob.pending == 0


# -- the end --------------------------------------------------------------------------------------


@both_versions
@pytest.mark.parametrize("compress", [None, False])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x10", DisconnectReason.SUBPROTOCOL_ERROR),
        (b"\xc1\x10", DisconnectReason.SUBPROTOCOL_ERROR),
        (b"\x04", DisconnectReason.TOO_MANY_PEERS),
        (b"\xc1\x08", DisconnectReason.QUITTING),
        (b"\xc0", DisconnectReason.REQUESTED),
        (b"\xc1\x63", 0x63),
        (b"garbage", DisconnectReason.REQUESTED),
        (bytes(MAX_P2P_PACKET + 1), DisconnectReason.REQUESTED),
    ],
)
def test_disconnect_in_every_form(
    version: int, compress: bool | None, data: bytes, reason: int
) -> None:
    for greets in (True, False):
        peer = RawPeer(replace(BOB_CONFIG, p2p_version=version), greets=greets)
        peer.say(1, data, compress=compress)
        assert peer.bob.closed == Closed(reason, by_peer=True)
        assert peer.bob.pending == 0


def test_a_disconnect_is_inflated_within_limits() -> None:
    for filler, reason in ((1000, DisconnectReason.TOO_MANY_PEERS), (3000, 0)):
        peer = RawPeer()
        peer.say(1, rlp.encode([4, bytes(filler)]))
        assert peer.bob.closed == Closed(reason, by_peer=True)


@pytest.mark.parametrize(("a", "b"), [(5, 5), (5, 4), (4, 5)])
def test_we_end_it(a: int, b: int) -> None:
    alice, bob = pair(replace(ALICE_CONFIG, p2p_version=a), replace(BOB_CONFIG, p2p_version=b))
    alice.connection.send(SHARED, 1, b"last words")
    alice.connection.disconnect(DisconnectReason.QUITTING)
    transfer(alice, bob)
    assert alice.closed == Closed(DisconnectReason.QUITTING, by_peer=False)
    assert bob.packets == [(1, b"last words")]
    assert bob.closed == Closed(DisconnectReason.QUITTING, by_peer=True)


def test_the_layer_above_ends_it() -> None:
    alice, bob = pair()
    error = UselessPeer("no status")
    bob.connection.fail(error)
    transfer(alice, bob)
    assert bob.closed == Closed(DisconnectReason.USELESS_PEER, by_peer=False, error=error)
    assert alice.closed == Closed(DisconnectReason.USELESS_PEER, by_peer=True)


def test_eof_comes_after_what_was_sent() -> None:
    alice, bob = pair()
    alice.connection.send(SHARED, 1, b"last")
    alice.connection.send(SHARED, 2, b"words")
    deliver(bob.connection, alice.take())
    bob.connection.eof(NOW)
    bob.pull()
    assert bob.packets == [(1, b"last"), (2, b"words")]
    assert bob.closed == Closed(None, by_peer=True)


def test_eof_at_any_stage() -> None:
    fresh, called, waiting = Side(BOB_CONFIG), Side(ALICE_CONFIG, BOB.public_key), Side(BOB_CONFIG)
    waiting.receive(Side(ALICE_CONFIG, BOB.public_key).take())
    for side in (fresh, called, waiting, *pair()):
        side.connection.eof(NOW)
        side.pull()
        assert side.closed == Closed(None, by_peer=True)
        assert side.connection.next_timer() is None


# -- time -----------------------------------------------------------------------------------------


def test_the_hello_must_come_in_time() -> None:
    silent = Side(BOB_CONFIG)
    unaccepted = Side(BOB_CONFIG)
    unaccepted.accepts = False
    unaccepted.receive(Side(ALICE_CONFIG, BOB.public_key).take(), NOW + 4)
    greeting = Side(BOB_CONFIG)
    greeting.receive(Side(ALICE_CONFIG, BOB.public_key).take(), NOW + 4)
    for side in (silent, Side(ALICE_CONFIG, BOB.public_key), unaccepted, greeting):
        side.take()
        assert side.connection.next_timer() == NOW + 5
        side.at(NOW + 4.9)
        assert not any(isinstance(event, Closed) for event in side.events)
        side.at(NOW + 5)
        assert isinstance(side.closed.error, HandshakeTimeout)
        assert side.pending == 0


def test_pings_go_out_and_are_answered() -> None:
    alice, bob = pair()
    for now in (NOW + 15, NOW + 30, NOW + 45, NOW + 60):
        assert alice.connection.next_timer() == now
        alice.at(now - 0.1)
        assert alice.pending == 0
        alice.at(now)
        assert alice.pending > 0
        transfer(alice, bob, now)
    assert len(alice.events) == len(bob.events) == 2


def test_who_pings_is_not_pinged_besides() -> None:
    """The pings of a peer prove that it is there; when they end, ours begin."""
    alice, bob = pair()
    for now in (NOW + 14, NOW + 14 + 15 + PING_SLACK):
        alice.connection.probe(now)
        transfer(alice, bob, now)
        assert bob.connection.next_timer() == now + 15 + PING_SLACK
        bob.at(now + 15)
        assert bob.pending == 0
    silent_since = now
    bob.at(silent_since + 15 + PING_SLACK)
    assert bob.pending > 0
    assert bob.connection.next_timer() == silent_since + 30


def test_what_is_no_ping_puts_off_none() -> None:
    alice, bob = pair()
    alice.connection.send(SHARED, 1, b"")
    transfer(alice, bob, NOW + 14)
    assert bob.connection.next_timer() == NOW + 15


@both_versions
def test_a_silent_peer_is_given_up(version: int) -> None:
    peer = RawPeer(replace(BOB_CONFIG, p2p_version=version))
    peer.bob.at(NOW + 15)
    assert peer.hear() == (2, b"\xc0")
    assert peer.bob.connection.next_timer() == NOW + 30
    peer.bob.at(NOW + 30)
    peer.assert_refused(PingTimeout)


def test_a_peer_that_was_not_read_is_not_silent() -> None:
    bob = RawPeer().bob
    bob.connection.touch(NOW + 29)
    bob.at(NOW + 58.9)
    bob.at(NOW + 58.95)
    assert len(bob.events) == 2
    bob.at(NOW + 59)
    assert isinstance(bob.closed.error, PingTimeout)


def test_a_probed_peer_must_answer_soon() -> None:
    alice, bob = pair()
    bob.connection.probe(NOW + 3)
    transfer(alice, bob, NOW + 4)
    assert bob.connection.next_timer() == NOW + 18
    bob.connection.probe(NOW + 10)
    bob.take()
    bob.connection.probe(NOW + 12)
    assert bob.connection.next_timer() == NOW + 10 + PROBE_TIMEOUT
    bob.at(NOW + 14.9)
    assert len(bob.events) == 2
    bob.at(NOW + 15)
    assert isinstance(bob.closed.error, PingTimeout)


def test_a_probe_gives_no_more_time() -> None:
    bob = RawPeer().bob
    bob.connection.probe(NOW + 28)
    assert bob.connection.next_timer() == NOW + 30
    waiting = Side(BOB_CONFIG)
    waiting.connection.probe(NOW)
    assert waiting.connection.next_timer() == NOW + 5
    assert waiting.pending == 0


# -- faults of the owner --------------------------------------------------------------------------


def test_send_refuses() -> None:
    alice, _ = pair()
    for code in (-1, 128):
        with pytest.raises(ValueError, match=f"no code {code}"):
            alice.connection.send(SHARED, code, b"")
        with pytest.raises(ValueError, match=f"no code {code}"):
            alice.connection.send_each(SHARED, code, b"\xc0")
    with pytest.raises(RuntimeError, match="Established"):
        Side(BOB_CONFIG).connection.send(SHARED, 0, b"")
    with pytest.raises(RuntimeError, match="Established"):
        Side(BOB_CONFIG).connection.send_each(SHARED, 0, b"\xc0")
    with pytest.raises(ValueError, match="frame"):
        alice.connection.send(SHARED, 0, os.urandom(1 << 24))
    assert alice.pending == 0


def test_config_refuses_a_capability_without_a_length() -> None:
    with pytest.raises(ValueError, match="xyz"):
        replace(BOB_CONFIG, capabilities=(*WAKU, Capability("xyz", 1)))


def test_packets_without_an_event_are_work_too() -> None:
    """The owner gets Uneventful after MAX_UNEVENTFUL bytes of pings."""
    alice, bob = pair()
    count = 2 * (MAX_UNEVENTFUL // PACKET_COST)
    for _ in range(count):
        alice.connection.probe(NOW)
    deliver(bob.connection, alice.take())
    assert isinstance(bob.connection.next_event(), Uneventful)
    assert bob.connection.buffered > 0
    bob.pull()
    assert bob.uneventful == 1
    assert bob.connection.buffered == 0
    assert bob.pending > 0
