"""Peers in memory: two that talk to each other, or one and a connection that can send anything."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import pytest

from tests.support.confirmations import listed
from tests.support.connections import ALICE_CONFIG, BOB, BOB_CONFIG, NOW, Side
from tests.support.envelopes import make, rules_with
from wakumail.base import rlp
from wakumail.counters import Counters
from wakumail.devp2p.connection_events import Authenticated, Closed, Established, Uneventful
from wakumail.devp2p.handshake import HandshakeStep
from wakumail.devp2p.keys import PublicKey
from wakumail.devp2p.packets import SHH6, WAKU, Capability, Shared
from wakumail.errors import ProtocolError
from wakumail.waku import packets as waku
from wakumail.waku.bloom import FULL_BLOOM
from wakumail.waku.completion import Completion, CompletionForm
from wakumail.waku.confirmations import EnvelopeError, encode_batch_ack, encode_message_response
from wakumail.waku.own_status import OwnStatus
from wakumail.waku.packets import Code, StatusOptions, WakuDialect
from wakumail.waku.peer import DIALECTS, Peer
from wakumail.waku.peer_events import PeerEvent, Ready

UNIX_TIME = 1_700_000_000
OPTIONS = StatusOptions(pow=0.5, confirmations=True)
ANY_POW = rules_with(min_pow=0.0, min_pow_large=0.0)
WAKU_0, WAKU_1 = WAKU
ENVELOPES = make(3, [b"topi"], created=UNIX_TIME)
MESSAGES = rlp.join_list([envelope.rlp for envelope in ENVELOPES])
COMPLETION = Completion(bytes(32)).encode(CompletionForm.LIST)
PACKETS: dict[int, bytes] = {
    Code.STATUS: WakuDialect(1).encode_status(OPTIONS),
    Code.MESSAGES: MESSAGES,
    Code.POW: rlp.encode(waku.pow_bits(0.25)),
    Code.BLOOM: rlp.encode(FULL_BLOOM),
    Code.BATCH_ACK: encode_batch_ack(bytes(32)),
    Code.MESSAGE_RESPONSE: encode_message_response(
        bytes(32), listed([EnvelopeError(bytes(32), 1, "very old envelope")])
    ),
    Code.RATE_LIMITS: rlp.encode([1, 2, 3]),
    Code.TOPIC_INTEREST: rlp.encode([b"topi"]),
    Code.STATUS_UPDATE: WakuDialect(1).encode_update(OPTIONS)[0][1],
    Code.P2P_REQUEST_COMPLETE: COMPLETION,
    Code.P2P_REQUEST: ENVELOPES[0].rlp,
    Code.P2P_MESSAGE: MESSAGES,
}
CAPABILITIES = pytest.mark.parametrize("spoken", DIALECTS, ids=lambda c: f"{c.name}/{c.version}")
EVERY: tuple[Capability, ...] = (*WAKU, SHH6)


class PeerSide(Side):
    """A peer over one end of a connection, and its events."""

    def __init__(
        self,
        remote: PublicKey | None = None,
        *,
        options: StatusOptions = OPTIONS,
        capabilities: tuple[Capability, ...] = WAKU,
        limited: bool = True,
    ) -> None:
        config = BOB_CONFIG if remote is None else ALICE_CONFIG
        super().__init__(replace(config, capabilities=capabilities), remote)
        self.counters = Counters()
        self.own = OwnStatus(options, ANY_POW)
        gate = self.gate if limited else None
        self.peer = Peer(self.connection, self.own, self.counters.add, gate)
        self.gated: list[tuple[bytes, int]] = []
        self.passes = 0
        """Number of packets that the gate accepts before it refuses one."""
        self.refusal: ProtocolError | None = None
        self.happened: list[PeerEvent] = []
        self.now = NOW

    def gate(self, node_id: bytes, size: int) -> None:
        self.gated.append((node_id, size))
        if self.refusal is not None and len(self.gated) > self.passes:
            raise self.refusal

    def pull(self) -> None:
        while (event := self.peer.next_event(self.now, UNIX_TIME)) is not None:
            if isinstance(event, HandshakeStep):
                self.compute(event)
                continue
            if isinstance(event, Uneventful):
                self.uneventful += 1
                continue
            self.happened.append(event)
            if isinstance(event, Authenticated):
                self.connection.accept()


E = TypeVar("E", bound=PeerEvent)


def the(kind: type[E], event: PeerEvent) -> E:
    """`event`, after a check that it is of `kind`."""
    assert isinstance(event, kind), event
    return event


def pair(spoken: Capability = WAKU_1, *, limited: bool = True) -> tuple[PeerSide, PeerSide]:
    """Two peers that are ready; with limits, Bob has a gate for each packet."""
    alice = PeerSide(BOB.public_key, capabilities=(spoken,))
    bob = PeerSide(capabilities=EVERY, limited=limited)
    carry(alice, bob)
    the(Ready, alice.happened[-1])
    the(Ready, bob.happened[-1])
    return alice, bob


def carry(alice: PeerSide, bob: PeerSide) -> None:
    while alice.pending or bob.pending:
        to_bob, to_alice = alice.take(), bob.take()
        bob.receive(to_bob)
        alice.receive(to_alice)


def say(alice: PeerSide, bob: PeerSide, code: int, payload: bytes) -> Sequence[PeerEvent]:
    """Send a packet from Alice; returns Bob's events."""
    before = len(bob.happened)
    alice.peer._send(code, payload)
    carry(alice, bob)
    return bob.happened[before:]


def ended(side: PeerSide, counter: str) -> Closed:
    """The last event, which must be a Closed with an error of that counter."""
    closed = the(Closed, side.happened[-1])
    assert closed.error is not None
    assert closed.error.counter == counter
    return closed


def greeted(
    capabilities: tuple[Capability, ...] = WAKU, of_bob: tuple[Capability, ...] = EVERY
) -> tuple[Side, PeerSide, list[Shared]]:
    """A connection that has not sent its status to Bob, and the shared capabilities."""
    alice = Side(replace(ALICE_CONFIG, capabilities=capabilities), BOB.public_key)
    bob = PeerSide(capabilities=of_bob)
    while alice.pending or bob.pending:
        bob.receive(alice.take())
        alice.receive(bob.take())
    (established,) = [event for event in alice.events if isinstance(event, Established)]
    return alice, bob, list(established.capabilities)
