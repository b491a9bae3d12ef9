"""The capability `wakusync` beside the one that is spoken."""

from dataclasses import replace

import pytest

from tests.support.connections import ALICE_CONFIG, BOB, Side
from tests.support.peers import (
    CAPABILITIES,
    EVERY,
    MESSAGES,
    PeerSide,
    carry,
    ended,
    greeted,
    say,
    the,
)
from wakumail.devp2p.packets import SYNC, WAKU, Capability, Shared
from wakumail.waku.packets import Code
from wakumail.waku.peer_events import EnvelopesReceived, Ready, SyncReceived


def syncing(spoken: tuple[Capability, ...]) -> tuple[PeerSide, PeerSide]:
    alice = PeerSide(BOB.public_key, capabilities=(*spoken, SYNC))
    bob = PeerSide(capabilities=(*EVERY, SYNC))
    carry(alice, bob)
    return alice, bob


@CAPABILITIES
def test_packets_are_handed_on_unopened(spoken: Capability) -> None:
    alice, bob = syncing((spoken,))
    assert the(Ready, bob.happened[-1]).name == f"{spoken.name}/{spoken.version}"
    assert alice.peer.syncs
    assert bob.peer.syncs
    before = len(bob.gated)
    alice.peer.send_sync(15, b"anything")
    bob.peer.send_sync(0, bytes(100_000))
    carry(alice, bob)
    assert bob.happened[-1] == SyncReceived(15, b"anything")
    assert alice.happened[-1] == SyncReceived(0, bytes(100_000))
    assert len(bob.gated) == before
    the(EnvelopesReceived, say(alice, bob, Code.MESSAGES, MESSAGES)[-1])


@pytest.mark.parametrize("silent", [0, 1])
def test_nothing_is_shared_with_a_peer_that_does_not_offer_it(silent: int) -> None:
    offers: list[tuple[Capability, ...]] = [(*WAKU, SYNC), (*WAKU, SYNC)]
    offers[silent] = WAKU
    alice = PeerSide(BOB.public_key, capabilities=offers[0])
    bob = PeerSide(capabilities=offers[1])
    carry(alice, bob)
    assert not alice.peer.syncs
    assert not bob.peer.syncs
    the(Ready, bob.happened[-1])


def test_a_peer_that_can_only_sync_is_useless() -> None:
    alice = Side(replace(ALICE_CONFIG, capabilities=(SYNC,)), BOB.public_key)
    bob = PeerSide(capabilities=(*EVERY, SYNC))
    while alice.pending or bob.pending:
        bob.receive(alice.take())
        alice.receive(bob.take())
    ended(bob, "useless_peer")


def test_nothing_is_taken_before_the_status() -> None:
    alice, bob, capabilities = greeted((*WAKU, SYNC), of_bob=(*EVERY, SYNC))
    assert capabilities[-1] == Shared("wakusync", 1, 0x90, 16)
    alice.connection.send(capabilities[-1], 0, b"")
    bob.receive(alice.take())
    ended(bob, "packets_before_status")


def test_a_packet_is_as_large_as_any_other_may_be() -> None:
    alice, bob = syncing(WAKU)
    alice.peer.send_sync(4, bytes(bob.connection.max_packet + 1))
    carry(alice, bob)
    ended(bob, "packet_too_large")
