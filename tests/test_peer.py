"""The peer, sans-IO: what packets become, and that no packet does any harm."""

from collections.abc import Sequence
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.connections import ALICE_CONFIG, BOB, BOB_CONFIG, NOW, Side
from tests.envelopes import make
from wakumail import rlp, waku
from wakumail.completion import Completion, Dialect
from wakumail.connection import Authenticated, Closed
from wakumail.counters import Counters
from wakumail.envelope import Rules
from wakumail.errors import DisconnectReason
from wakumail.keccak import keccak256
from wakumail.keys import PublicKey
from wakumail.peer import (
    STATUS_TIMEOUT,
    Confirmed,
    EnvelopesReceived,
    Event,
    HistoryCompleted,
    HistoryDelivered,
    HistoryRequested,
    Peer,
    Ready,
)
from wakumail.waku import Code, StatusOptions

UNIX_TIME = 1_700_000_000
OPTIONS = StatusOptions(pow=0.5, confirmations=True)
ENVELOPES = make(3, [b"topi"], created=UNIX_TIME)
MESSAGES = rlp.join_list([envelope.rlp for envelope in ENVELOPES])
PACKETS: dict[int, bytes] = {
    Code.STATUS: waku.encode_status(OPTIONS, 1),
    Code.MESSAGES: MESSAGES,
    Code.BATCH_ACK: waku.encode_batch_ack(bytes(32)),
    Code.MESSAGE_RESPONSE: waku.encode_message_response(
        bytes(32), [waku.EnvelopeError(bytes(32), 1, "very old envelope")]
    ),
    Code.STATUS_UPDATE: waku.encode_status_update(OPTIONS, 1),
    Code.P2P_REQUEST_COMPLETE: Completion(bytes(32)).encode(Dialect.LIST),
    Code.P2P_REQUEST: ENVELOPES[0].rlp,
    Code.P2P_MESSAGE: MESSAGES,
}


class PeerSide(Side):
    """A peer over one end of a connection, and what came out of it."""

    def __init__(self, remote: PublicKey | None = None) -> None:
        super().__init__(BOB_CONFIG if remote is None else ALICE_CONFIG, remote)
        self.counters = Counters()
        rules = Rules(min_pow=0.0, min_pow_large=0.0)
        self.peer = Peer(self.connection, OPTIONS, rules, self.counters.add)
        self.happened: list[Event] = []

    def pull(self) -> None:
        while (event := self.peer.next_event(NOW, UNIX_TIME)) is not None:
            self.happened.append(event)
            if isinstance(event, Authenticated):
                self.connection.accept()


E = TypeVar("E", bound=Event)


def the(kind: type[E], event: Event) -> E:
    """`event`, which has to be of a kind."""
    assert isinstance(event, kind), event
    return event


def pair() -> tuple[PeerSide, PeerSide]:
    """Two peers that are ready."""
    alice, bob = PeerSide(BOB.public_key), PeerSide()
    carry(alice, bob)
    the(Ready, alice.happened[-1])
    the(Ready, bob.happened[-1])
    return alice, bob


def carry(alice: PeerSide, bob: PeerSide) -> None:
    while alice.connection.pending_size or bob.connection.pending_size:
        to_bob, to_alice = alice.take(), bob.take()
        bob.receive(to_bob)
        alice.receive(to_alice)


def say(alice: PeerSide, bob: PeerSide, code: int, payload: bytes) -> Sequence[Event]:
    """Send a packet from Alice; answers what happens at Bob's."""
    before = len(bob.happened)
    alice.peer._send(code, payload)
    carry(alice, bob)
    return bob.happened[before:]


def test_both_learn_what_the_other_wants() -> None:
    alice, bob = pair()
    assert alice.peer.settings.pow == bob.peer.settings.pow == 0.5
    assert alice.peer.settings.confirmations
    ready = the(Ready, bob.happened[-1])
    assert (ready.hello.client_id, ready.version) == ("wakumail/alice", 1)


def test_messages_are_judged_and_hashed() -> None:
    alice, bob = pair()
    (event,) = say(alice, bob, Code.MESSAGES, MESSAGES)
    received = the(EnvelopesReceived, event)
    assert [envelope.hash for envelope in received.batch] == [e.hash for e in ENVELOPES]
    assert received.batch_hash == keccak256(MESSAGES)


def test_a_confirmation_is_response_then_ack() -> None:
    alice, bob = pair()
    errors = (waku.EnvelopeError(bytes(32), 1, "very old envelope"),)
    bob.peer.confirm(b"h" * 32, errors)
    carry(alice, bob)
    assert alice.counters["packets_unasked"] == 2
    alice.peer.expects_confirmations = True
    bob.peer.confirm(b"h" * 32, errors)
    carry(alice, bob)
    assert alice.happened[-2:] == [Confirmed(b"h" * 32, errors), Confirmed(b"h" * 32, ())]


def test_history_is_taken_only_while_it_is_expected() -> None:
    alice, bob = pair()
    assert say(bob, alice, Code.P2P_MESSAGE, MESSAGES) == []
    assert alice.counters["packets_unasked"] == 1
    alice.peer.request_history(b"request")
    carry(alice, bob)
    assert bob.happened[-1] == HistoryRequested(b"request")
    bob.peer.deliver_history(MESSAGES)
    bob.peer.complete_history(Completion(bytes(32)).encode(Dialect.BYTES))
    carry(alice, bob)
    delivered, completed = alice.happened[-2:]
    assert len(the(HistoryDelivered, delivered).batch) == len(ENVELOPES)
    assert completed == HistoryCompleted(Completion(bytes(32)))


def test_garbage_in_place_of_history_ends_it() -> None:
    alice, bob = pair()
    alice.peer.expects_history = True
    (event,) = say(bob, alice, Code.P2P_MESSAGE, b"garbage")
    closed = the(Closed, event)
    assert closed.error is not None
    assert closed.error.counter == "history_malformed"
    assert closed.reason == DisconnectReason.SUBPROTOCOL_ERROR


def test_a_status_has_to_come_in_time() -> None:
    bob = PeerSide()
    alice = Side(ALICE_CONFIG, BOB.public_key)
    while alice.connection.pending_size or bob.connection.pending_size:
        bob.receive(alice.take())
        alice.receive(bob.take())
    due = bob.peer.next_timer()
    assert due == NOW + STATUS_TIMEOUT
    bob.peer.handle_timer(due - 0.1)
    bob.pull()
    assert not isinstance(bob.happened[-1], Closed)
    bob.peer.handle_timer(due)
    bob.pull()
    closed = the(Closed, bob.happened[-1])
    assert closed.error is not None
    assert closed.error.counter == "packets_before_status"


@pytest.mark.parametrize("expecting", [False, True])
@given(
    code=st.sampled_from(sorted(PACKETS)),
    at=st.integers(0, 10_000),
    change=st.binary(min_size=0, max_size=8),
    cut=st.integers(0, 8),
)
@settings(max_examples=150, deadline=None)
def test_mutated_packets_do_no_harm(
    expecting: bool, code: int, at: int, change: bytes, cut: int
) -> None:
    alice, bob = pair()
    bob.peer.expects_history = expecting
    payload = PACKETS[code]
    at %= len(payload) + 1
    events = say(alice, bob, code, payload[:at] + change + payload[at + cut :])
    for event in events:
        if isinstance(event, Closed):
            assert event.error is not None
            return
    assert say(alice, bob, Code.MESSAGES, MESSAGES), "the peer works on"


@given(code=st.integers(0, 127), payload=st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_packet_is_an_event_or_counted(code: int, payload: bytes) -> None:
    alice, bob = pair()
    counted = sum(bob.counters.values())
    assert (
        say(alice, bob, code, payload)
        or sum(bob.counters.values()) > counted
        or (code == Code.STATUS_UPDATE)
    )
