"""The peer's status: the capability that is spoken, updates, and light nodes."""

from dataclasses import replace

import pytest

from tests.support.connections import ALICE_ID, BOB, NOW
from tests.support.peers import (
    ANY_POW,
    CAPABILITIES,
    ENVELOPES,
    EVERY,
    MESSAGES,
    OPTIONS,
    PACKETS,
    WAKU_0,
    WAKU_1,
    PeerSide,
    carry,
    ended,
    greeted,
    pair,
    say,
    the,
)
from wakumail.base import rlp
from wakumail.devp2p.connection_events import Authenticated, Closed, Packet
from wakumail.devp2p.packets import SHH6, Capability
from wakumail.errors import DisconnectReason
from wakumail.waku import packets as waku
from wakumail.waku.allowance import UPDATE_BURST, UPDATE_OVERHEAD, UPDATE_RATE
from wakumail.waku.bloom import FULL_BLOOM, bloom_of
from wakumail.waku.interest import EVERYTHING, Interest
from wakumail.waku.packets import (
    MAX_STATUS_SIZE,
    Code,
    PeerSettings,
    RateLimits,
    StatusOptions,
    WakuDialect,
)
from wakumail.waku.peer import DIALECTS, STATUS_TIMEOUT
from wakumail.waku.peer_events import EnvelopesReceived, Ready, SettingsChanged
from wakumail.waku.whisper import WhisperDialect

# -- status ------------------------------------------------------------------------------------


@CAPABILITIES
def test_both_learn_what_the_other_wants(spoken: Capability) -> None:
    alice, bob = pair(spoken)
    assert alice.peer.settings == bob.peer.settings
    assert alice.peer.settings.pow == 0.5
    assert alice.peer.settings.confirmations
    ready = the(Ready, bob.happened[-1])
    assert ready.hello.client_id == "wakumail/alice"
    assert bob.peer.hello == ready.hello
    assert the(Ready, alice.happened[-1]).hello.capabilities == EVERY
    assert ready.name == bob.peer.name == alice.peer.name == f"{spoken.name}/{spoken.version}"


@pytest.mark.parametrize(
    ("ours", "theirs", "name"),
    [
        (EVERY, EVERY, "waku/1"),
        (EVERY, (SHH6, WAKU_0), "waku/0"),
        (EVERY, (SHH6,), "shh/6"),
        ((SHH6,), EVERY, "shh/6"),
    ],
    ids=["all", "waku/0 and shh/6", "shh/6", "only we shh/6"],
)
def test_the_newest_capability_is_spoken(
    ours: tuple[Capability, ...], theirs: tuple[Capability, ...], name: str
) -> None:
    alice = PeerSide(BOB.public_key, capabilities=theirs)
    bob = PeerSide(capabilities=ours)
    carry(alice, bob)
    assert bob.peer.name == alice.peer.name == name
    assert say(alice, bob, Code.MESSAGES, MESSAGES)


def test_a_bridge_hears_in_the_capability_not_spoken_that_we_want_nothing_there() -> None:
    bridge, bob, _ = greeted(EVERY)
    first, second = [event for event in bridge.events if isinstance(event, Packet)]
    assert (first.capability.name, first.code) == ("waku", Code.STATUS)
    assert (second.capability.name, second.code) == ("shh", Code.STATUS)
    wanted = DIALECTS[SHH6].decode_status(second.payload).interest
    assert wanted == Interest(bloom=bytes(64))
    bridge.connection.send(second.capability, Code.MESSAGES, MESSAGES)
    bob.receive(bridge.take())
    assert bob.counters["packets_unasked"] == 1
    assert bob.gated == [(ALICE_ID, len(MESSAGES))]
    assert [type(event) for event in bob.happened] == [Authenticated]


@CAPABILITIES
def test_our_status_goes_first(spoken: Capability) -> None:
    alice, bob, (shared,) = greeted((spoken,))
    assert [packet.code for packet in alice.events if isinstance(packet, Packet)] == [Code.STATUS]
    assert bob.peer.name == f"{shared.name}/{shared.version}"


def test_a_status_without_options_is_enough() -> None:
    alice, bob, (shared,) = greeted()
    alice.connection.send(shared, Code.STATUS, rlp.encode([]))
    bob.receive(alice.take())
    the(Ready, bob.happened[-1])
    assert bob.peer.settings == PeerSettings()


def test_unknown_options_are_no_reason_to_part() -> None:
    alice, bob, (shared,) = greeted()
    status = rlp.encode([[99, [b"of", [b"the future"]]], [0, waku.pow_bits(0.25)], [b"x"]])
    alice.connection.send(shared, Code.STATUS, status)
    bob.receive(alice.take())
    the(Ready, bob.happened[-1])
    assert bob.peer.settings == PeerSettings(pow=0.25)


def test_a_status_has_to_come_in_time() -> None:
    _, bob, _ = greeted()
    due = bob.peer.next_timer()
    assert due == NOW + STATUS_TIMEOUT
    bob.peer.handle_timer(due - 0.1)
    bob.pull()
    assert not isinstance(bob.happened[-1], Closed)
    bob.peer.handle_timer(due)
    bob.pull()
    ended(bob, "packets_before_status")


@pytest.mark.parametrize("code", [c for c in PACKETS if c != Code.STATUS] + [99])
def test_a_packet_before_the_status_is_the_end(code: int) -> None:
    alice, bob, (shared,) = greeted()
    alice.connection.send(shared, code, PACKETS.get(code, b""))
    bob.receive(alice.take())
    closed = ended(bob, "packets_before_status")
    assert closed.reason == DisconnectReason.SUBPROTOCOL_ERROR
    assert [type(event) for event in bob.happened] == [Authenticated, Closed]


def test_a_second_status_is_ignored() -> None:
    alice, bob = pair()
    before = bob.peer.settings
    assert say(alice, bob, Code.STATUS, WakuDialect(1).encode_status(StatusOptions(pow=9.0))) == []
    assert bob.counters["packets_status_repeated"] == 1
    assert bob.peer.settings == before


def test_a_malformed_status_is_the_end() -> None:
    alice, bob, (shared,) = greeted()
    alice.connection.send(shared, Code.STATUS, rlp.encode([[0, waku.pow_bits(-1.0)]]))
    bob.receive(alice.take())
    ended(bob, "status_pow_invalid")


# -- status updates ----------------------------------------------------------------------------


@CAPABILITIES
def test_an_update_in_every_dialect(spoken: Capability) -> None:
    alice, bob = pair(spoken)
    before = len(bob.happened)
    alice.own.change(replace(OPTIONS, pow=0.25, topic_interest=(b"topi",)), ANY_POW)
    alice.peer.update_status(alice.now)
    carry(alice, bob)
    assert set(bob.happened[before:]) == {SettingsChanged()}
    assert bob.peer.settings.pow == 0.25
    assert bob.peer.settings.confirmations, "what is not named stays"
    topics = Interest(topics=[b"topi"])
    assert bob.peer.settings.interest == (
        Interest(bloom=bloom_of([b"topi"])) if spoken == SHH6 else topics
    )


@pytest.mark.parametrize("code", [2, 3, 20, 21])
def test_version_0_updates_one_option_at_a_time(code: int) -> None:
    alice, bob = pair(WAKU_0)
    assert say(alice, bob, code, PACKETS[code]) == ([SettingsChanged()] if code != 3 else [])
    settings = bob.peer.settings
    assert settings.pow == (0.25 if code == 2 else 0.5)
    assert settings.packet_rate_limits == ((1, 2, 3) if code == 20 else (0, 0, 0))
    assert settings.interest == (Interest(topics=[b"topi"]) if code == 21 else EVERYTHING)


@pytest.mark.parametrize("code", [2, 3, 20, 21])
def test_version_1_does_not_know_updates_of_one_option(code: int) -> None:
    alice, bob = pair(WAKU_1)
    before = bob.peer.settings
    assert say(alice, bob, code, PACKETS[code]) == []
    assert bob.counters["packets_unknown"] == 1
    assert bob.peer.settings == before


@pytest.mark.parametrize(
    "options",
    [StatusOptions(), StatusOptions(pow=0.5), StatusOptions(bloom=FULL_BLOOM, light=False)],
    ids=["nothing", "the same PoW", "the same bloom"],
)
def test_an_update_that_changes_nothing_is_no_event(options: StatusOptions) -> None:
    alice, bob = pair()
    packets = WakuDialect(1).encode_update(options) or [(Code.STATUS_UPDATE, rlp.encode([]))]
    before = bob.peer.settings
    assert say(alice, bob, *packets[0]) == []
    assert bob.peer.settings == before


def test_a_malformed_update_is_ignored() -> None:
    alice, bob = pair()
    before = bob.peer.settings
    for payload in (b"garbage", rlp.encode([[1, b"short"]]), bytes(MAX_STATUS_SIZE + 1)):
        assert say(alice, bob, Code.STATUS_UPDATE, payload) == []
    assert bob.counters["packets_status_update_malformed"] == 3
    assert bob.peer.settings == before


def test_the_rate_limits_of_a_peer_are_kept() -> None:
    alice, bob = pair()
    packets, sizes = RateLimits(1, 2, 3), RateLimits(4, 5, 6)
    limited = replace(OPTIONS, packet_rate_limits=packets, bytes_rate_limits=sizes)
    alice.own.change(limited, ANY_POW)
    alice.peer.update_status(alice.now)
    carry(alice, bob)
    assert bob.peer.settings.packet_rate_limits == packets
    assert bob.peer.settings.bytes_rate_limits == sizes


def test_no_update_goes_out_before_the_status_of_the_peer() -> None:
    """Changes before the peer's status has come are told as soon as it has, together."""
    alice, bob, (shared,) = greeted()
    for pow_ in (0.25, 0.125):
        bob.own.change(replace(OPTIONS, pow=pow_), ANY_POW)
        bob.peer.update_status(bob.now)
    assert bob.take() == b""
    alice.connection.send(shared, Code.STATUS, PACKETS[Code.STATUS])
    bob.receive(alice.take())
    before = len(alice.events)
    alice.receive(bob.take())
    (packet,) = [event for event in alice.events[before:] if isinstance(event, Packet)]
    told = WakuDialect(1).decode_update(packet.code, packet.payload)
    assert told == StatusOptions(pow=0.125)


def test_no_update_goes_out_before_our_status() -> None:
    alice = PeerSide(BOB.public_key)
    alice.take()
    alice.own.change(LIGHT, ANY_POW)
    alice.peer.update_status(alice.now)
    assert alice.take() == b""


def test_updates_wait_for_the_limits_of_the_peer() -> None:
    """Whisper has a packet for each option; a later value takes the place of one that waits."""
    alice, bob = pair(SHH6)
    limit = StatusOptions(packet_rate_limits=RateLimits(0, 1, 0))
    say(alice, bob, *WhisperDialect().encode_update(limit)[0])
    heard = []
    for pow_ in (0.25, 0.125, 0.0625):
        options = replace(OPTIONS, pow=pow_, topic_interest=(b"topi",))
        bob.own.change(options, ANY_POW)
        bob.peer.update_status(bob.now)
    for _ in range(4):
        carry(alice, bob)
        heard.append((alice.peer.settings.pow, alice.peer.settings.interest == EVERYTHING))
        bob.now += 1.0
        bob.peer.handle_timer(bob.now)
    assert heard == [(0.25, True), (0.25, False), (0.0625, False), (0.0625, False)]
    bob.own.change(replace(OPTIONS, pow=0.5), ANY_POW)
    bob.own.change(options, ANY_POW)
    bob.peer.update_status(bob.now)
    assert bob.take() == b"", "nothing has changed since it was told"


def test_an_update_leaves_when_the_limits_are_lifted() -> None:
    alice, bob = pair()
    for limit in (1, 0):
        changed = StatusOptions(packet_rate_limits=RateLimits(0, limit, 0))
        say(alice, bob, *WakuDialect(1).encode_update(changed)[0])
        for pow_ in (0.25, 0.125):
            bob.own.change(replace(OPTIONS, pow=pow_), ANY_POW)
            bob.peer.update_status(bob.now)
        carry(alice, bob)
        assert alice.peer.settings.pow == (0.25 if limit else 0.125)
    assert bob.peer.next_timer() == bob.connection.next_timer()


@pytest.mark.parametrize("payload", [rlp.encode([]), b"garbage"], ids=["empty", "malformed"])
def test_a_flood_of_updates_is_the_end(payload: bytes) -> None:
    alice, bob = pair()
    allowed = UPDATE_BURST // (UPDATE_OVERHEAD + len(payload))
    for _ in range(allowed):
        alice.peer._send(Code.STATUS_UPDATE, payload)
    carry(alice, bob)
    the(Ready, bob.happened[-1])
    say(alice, bob, Code.STATUS_UPDATE, payload)
    ended(bob, "status_update_flood")


def test_updates_cost_by_their_topics_and_come_back_with_time() -> None:
    alice, bob = pair()
    topics = tuple(number.to_bytes(4, "big") for number in range(waku.MAX_TOPIC_INTEREST))
    ((code, payload),) = WakuDialect(1).encode_update(StatusOptions(topic_interest=topics))
    cost = UPDATE_OVERHEAD + len(payload)
    assert say(alice, bob, code, payload) == [SettingsChanged()]
    for _ in range(UPDATE_BURST // cost - 1):
        assert say(alice, bob, code, payload) == []
    bob.now += cost / UPDATE_RATE
    assert say(alice, bob, code, payload) == []
    say(alice, bob, code, payload)
    ended(bob, "status_update_flood")


# -- light nodes -------------------------------------------------------------------------------

LIGHT = replace(OPTIONS, light=True)


@CAPABILITIES
def test_two_light_nodes_part(spoken: Capability) -> None:
    alice = PeerSide(BOB.public_key, options=LIGHT, capabilities=(spoken,))
    bob = PeerSide(options=LIGHT, capabilities=EVERY)
    carry(alice, bob)
    for side in (alice, bob):
        assert ended(side, "light_nodes_parted").reason == DisconnectReason.USELESS_PEER
        assert [type(event) for event in side.happened] == [Authenticated, Closed]


def test_two_nodes_that_become_light_part() -> None:
    alice, bob = pair()
    alice.own.change(LIGHT, ANY_POW)
    alice.peer.update_status(alice.now)
    carry(alice, bob)
    assert bob.happened[-1] == SettingsChanged()
    assert bob.peer.settings.light
    bob.own.change(LIGHT, ANY_POW)
    bob.peer.update_status(bob.now)
    bob.pull()
    assert ended(bob, "light_nodes_parted").reason == DisconnectReason.USELESS_PEER


def test_a_peer_that_becomes_light_as_we_are_is_let_go() -> None:
    alice, bob = pair()
    bob.own.change(LIGHT, ANY_POW)
    say(alice, bob, *WakuDialect(1).encode_update(StatusOptions(light=True))[0])
    ended(bob, "light_nodes_parted")


def test_a_light_node_takes_messages_and_a_full_one_those_of_a_light() -> None:
    alice = PeerSide(BOB.public_key, options=LIGHT)
    bob = PeerSide()
    carry(alice, bob)
    for sender, receiver in ((alice, bob), (bob, alice)):
        sender.peer.send_messages(MESSAGES)
        carry(alice, bob)
        assert the(EnvelopesReceived, receiver.happened[-1]).batch.accepted == len(ENVELOPES)
