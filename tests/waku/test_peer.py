"""The peer, sans-IO: the events of packets, and that no packet does any harm."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.confirmations import listed
from tests.support.connections import ALICE_ID
from tests.support.envelopes import make, rules_with
from tests.support.peers import (
    ANY_POW,
    CAPABILITIES,
    COMPLETION,
    ENVELOPES,
    MESSAGES,
    OPTIONS,
    PACKETS,
    UNIX_TIME,
    WAKU_0,
    carry,
    ended,
    pair,
    say,
    the,
)
from wakumail.base import rlp
from wakumail.base.keccak import keccak256
from wakumail.devp2p.connection import MAX_UNEVENTFUL, PACKET_COST
from wakumail.devp2p.connection_events import Closed
from wakumail.devp2p.packets import SHH6, Capability
from wakumail.errors import DisconnectReason, ProtocolError
from wakumail.waku.allowance import UNASKED_BYTES, UNASKED_ENVELOPES
from wakumail.waku.completion import Completion, CompletionForm
from wakumail.waku.confirmations import NO_ERRORS, EnvelopeError
from wakumail.waku.envelope import Verdict
from wakumail.waku.packets import Code
from wakumail.waku.peer_events import (
    Confirmed,
    EnvelopesReceived,
    HistoryCompleted,
    HistoryDelivered,
    HistoryRequested,
)
from wakumail.waku.pool import Pool

# -- messages ----------------------------------------------------------------------------------


def test_messages_are_judged_and_hashed() -> None:
    alice, bob = pair()
    (event,) = say(alice, bob, Code.MESSAGES, MESSAGES)
    received = the(EnvelopesReceived, event)
    assert [envelope.hash for envelope in received.batch] == [e.hash for e in ENVELOPES]
    assert received.batch.confirmations == [(keccak256(MESSAGES), NO_ERRORS)]


def test_a_confirmation_is_response_then_ack() -> None:
    alice, bob = pair()
    errors = (EnvelopeError(bytes(32), 1, "very old envelope"),)
    bob.peer.confirm([(b"h" * 32, listed(errors))])
    carry(alice, bob)
    assert alice.counters["packets_unasked"] == 2
    alice.peer.send_messages(MESSAGES)
    bob.peer.confirm([(b"h" * 32, listed(errors))])
    carry(alice, bob)
    assert alice.happened[-2:] == [Confirmed(b"h" * 32, errors), Confirmed(b"h" * 32, ())]


def test_confirmations_of_more_than_was_sent_are_not_taken() -> None:
    alice, bob = pair()
    for _ in range(3):
        alice.peer.send_messages(MESSAGES)
    for number in range(5):
        bob.peer.confirm([(bytes([number]) * 32, NO_ERRORS)])
    carry(alice, bob)
    taken = [event.batch_hash[0] for event in alice.happened if isinstance(event, Confirmed)]
    assert taken == [0, 0, 1, 1, 2, 2]
    assert alice.counters["packets_unasked"] == 4


def test_confirmations_may_be_turned_on_and_off() -> None:
    alice, bob = pair()
    alice.peer.send_messages(MESSAGES)
    for confirming in (False, True):
        bob.own.change(replace(OPTIONS, confirmations=confirming), ANY_POW)
        bob.peer.update_status(bob.now)
        bob.peer.confirm([(bytes(32), NO_ERRORS)])
        carry(alice, bob)
        assert isinstance(alice.happened[-1], Confirmed) == confirming
    assert alice.counters["packets_unasked"] == 2


def test_what_is_known_comes_in_as_a_duplicate() -> None:
    alice, bob = pair()
    pool = Pool(max_bytes=1 << 20)
    bob.own.known = pool
    (first,) = say(alice, bob, Code.MESSAGES, MESSAGES)
    pool.add(the(EnvelopesReceived, first).batch, None, UNIX_TIME)
    (again,) = say(alice, bob, Code.MESSAGES, MESSAGES)
    received = the(EnvelopesReceived, again)
    assert received.batch.rejections == {Verdict.DUPLICATE: len(ENVELOPES)}
    assert received.batch.confirmations == [(keccak256(MESSAGES), NO_ERRORS)], (
        "it is confirmed all the same"
    )


def test_messages_are_judged_by_the_rules_of_the_moment() -> None:
    alice, bob = pair()
    strict = rules_with(min_pow=1e9, min_pow_large=1e9)
    bob.own.change(replace(OPTIONS, pow=1e9), strict)
    (event,) = say(alice, bob, Code.MESSAGES, MESSAGES)
    assert the(EnvelopesReceived, event).batch.accepted == len(ENVELOPES)
    bob.own.settle()
    (event,) = say(alice, bob, Code.MESSAGES, MESSAGES)
    assert the(EnvelopesReceived, event).batch.rejections == {Verdict.LOW_POW: len(ENVELOPES)}


def test_nothing_is_hashed_where_nobody_confirms() -> None:
    alice, bob = pair()
    bob.own.change(replace(OPTIONS, confirmations=False), ANY_POW)
    (event,) = say(alice, bob, Code.MESSAGES, MESSAGES)
    assert the(EnvelopesReceived, event).batch.confirmations == []


def test_malformed_messages_are_ignored_whole() -> None:
    alice, bob = pair()
    assert say(alice, bob, Code.MESSAGES, rlp.join_list([ENVELOPES[0].rlp, b"\x80"])) == []
    assert bob.counters["packets_messages_malformed"] == 1


@pytest.mark.parametrize("code", [10, 99, 123, 124])
@CAPABILITIES
def test_unknown_codes_are_ignored(code: int, spoken: Capability) -> None:
    alice, bob = pair(spoken)
    assert say(alice, bob, code, b"of the future") == []
    assert bob.counters["packets_unknown"] == 1
    assert say(alice, bob, Code.MESSAGES, MESSAGES)


def test_the_gate_sees_every_packet_before_it_is_decoded() -> None:
    alice, bob = pair()
    assert bob.gated == [(ALICE_ID, len(PACKETS[Code.STATUS]))]
    say(alice, bob, 99, b"x" * 9)
    assert bob.gated[1:] == [(ALICE_ID, 9)]
    bob.refusal = ProtocolError("too much")
    before = len(bob.happened)
    say(alice, bob, Code.MESSAGES, b"garbage")
    assert bob.gated[2:] == [(ALICE_ID, 7)]
    assert bob.counters["packets_messages_malformed"] == 0
    (closed,) = bob.happened[before:]
    assert the(Closed, closed).error is bob.refusal


# -- history -----------------------------------------------------------------------------------


def test_history_is_taken_only_while_it_is_expected() -> None:
    alice, bob = pair()
    assert say(bob, alice, Code.P2P_MESSAGE, MESSAGES) == []
    assert alice.counters["packets_unasked"] == 1
    alice.peer.request_history(b"request")
    carry(alice, bob)
    assert bob.happened[-1] == HistoryRequested(b"request")
    bob.peer.deliver_history(MESSAGES)
    bob.peer.complete_history(Completion(bytes(32)).encode(CompletionForm.BYTES))
    carry(alice, bob)
    delivered, completed = alice.happened[-2:]
    assert len(the(HistoryDelivered, delivered).batch) == len(ENVELOPES)
    assert completed == HistoryCompleted(Completion(bytes(32)))


def test_garbage_in_place_of_history_ends_it() -> None:
    alice, bob = pair()
    alice.peer.expects_history = True
    say(bob, alice, Code.P2P_MESSAGE, b"garbage")
    assert ended(alice, "history_malformed").reason == DisconnectReason.SUBPROTOCOL_ERROR


def test_a_trusted_peer_may_send_history_unasked() -> None:
    alice, bob = pair()
    alice.peer.trusted = True
    delivered, completed = (
        *say(bob, alice, Code.P2P_MESSAGE, MESSAGES),
        *say(bob, alice, Code.P2P_REQUEST_COMPLETE, COMPLETION),
    )
    assert len(the(HistoryDelivered, delivered).batch) == len(ENVELOPES)
    assert completed == HistoryCompleted(Completion(bytes(32)))
    alice.peer.trusted = False
    assert say(bob, alice, Code.P2P_MESSAGE, MESSAGES) == []
    assert alice.counters["packets_unasked"] == 1


def test_expired_envelopes_are_history() -> None:
    """P2P messages are not judged: they may be expired (6/WAKU1, "P2P Message")."""
    alice, bob = pair()
    alice.peer.trusted = True
    old = rlp.join_list([envelope.rlp for envelope in make(2, [b"topi"], created=1_000)])
    (event,) = say(bob, alice, Code.P2P_MESSAGE, old)
    assert the(HistoryDelivered, event).batch.accepted == 2


def test_unasked_envelopes_are_bounded_and_asked_ones_are_not() -> None:
    alice, bob = pair()
    alice.peer.trusted = True
    count = UNASKED_ENVELOPES // 4
    packet = rlp.join_list([envelope.rlp for envelope in make(count, [b"topi"], size=1)])
    assert 5 * len(packet) < UNASKED_BYTES
    assert len([say(bob, alice, Code.P2P_MESSAGE, packet) for _ in range(4)]) == 4
    assert alice.counters["history_unasked_excess"] == 0
    assert say(bob, alice, Code.P2P_REQUEST_COMPLETE, COMPLETION) == []
    assert say(bob, alice, Code.P2P_MESSAGE, MESSAGES) == []
    assert alice.counters["history_unasked_excess"] == 2
    alice.peer.expects_history = True
    assert len(say(bob, alice, Code.P2P_MESSAGE, packet)) == 1
    alice.peer.expects_history = False
    alice.now += 15.0
    assert len(say(bob, alice, Code.P2P_MESSAGE, packet)) == 1


def test_unasked_bytes_are_bounded() -> None:
    alice, bob = pair()
    alice.peer.trusted = True
    large = make(1, [b"topi"], size=500_000, seed=3)[0]
    packet = rlp.join_list([large.rlp])
    allowed = UNASKED_BYTES // len(packet)
    assert 1 < allowed < 1_000
    for _ in range(allowed):
        assert len(say(bob, alice, Code.P2P_MESSAGE, packet)) == 1
    assert say(bob, alice, Code.P2P_MESSAGE, packet) == []
    assert alice.counters["history_unasked_excess"] == 1
    alice.now += 60.0
    assert len(say(bob, alice, Code.P2P_MESSAGE, packet)) == 1


def test_a_whisper_mailserver_may_send_one_envelope_as_such() -> None:
    alice, bob = pair(SHH6)
    alice.peer.trusted = True
    (event,) = say(bob, alice, Code.P2P_MESSAGE, ENVELOPES[0].rlp)
    assert list(the(HistoryDelivered, event).batch) == [ENVELOPES[0]]
    alice, bob = pair(WAKU_0)
    alice.peer.trusted = True
    say(bob, alice, Code.P2P_MESSAGE, ENVELOPES[0].rlp)
    ended(alice, "history_malformed")


@CAPABILITIES
def test_history_is_asked_for_and_answered_in_every_dialect(spoken: Capability) -> None:
    alice, bob = pair(spoken)
    alice.peer.request_history(b"request")
    carry(alice, bob)
    assert bob.happened[-1] == HistoryRequested(b"request")
    bob.peer.deliver_history(MESSAGES)
    bob.peer.complete_history(COMPLETION)
    carry(alice, bob)
    delivered, completed = alice.happened[-2:]
    assert list(the(HistoryDelivered, delivered).batch) == ENVELOPES
    assert completed == HistoryCompleted(Completion(bytes(32)))


# -- anything ----------------------------------------------------------------------------------


@CAPABILITIES
@pytest.mark.parametrize("expecting", [False, True])
@given(
    code=st.sampled_from(sorted(PACKETS)),
    at=st.integers(0, 10_000),
    change=st.binary(min_size=0, max_size=8),
    cut=st.integers(0, 8),
)
@settings(max_examples=60, deadline=None)
def test_mutated_packets_do_no_harm(
    expecting: bool, spoken: Capability, code: int, at: int, change: bytes, cut: int
) -> None:
    alice, bob = pair(spoken)
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
    events = say(alice, bob, code, payload)
    assert events or sum(bob.counters.values()) > counted or code == Code.STATUS_UPDATE


def test_packets_that_are_dropped_are_work_too() -> None:
    """The owner gets Uneventful after MAX_UNEVENTFUL bytes of them."""
    alice, bob = pair()
    count = MAX_UNEVENTFUL // PACKET_COST
    for _ in range(count):
        alice.peer._send(99, b"")
    carry(alice, bob)
    assert bob.counters["packets_unknown"] == count
    assert bob.uneventful == 1
    alice.peer._send(99, bytes(MAX_UNEVENTFUL))
    carry(alice, bob)
    assert bob.uneventful == 2
