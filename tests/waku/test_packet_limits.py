"""Each packet code has a limit of its own, and nothing over it is inflated."""

import pytest
from typing_extensions import Buffer

from tests.support.peers import WAKU_1, PeerSide, carry, ended, greeted, pair, the
from wakumail.base import rlp, snappy
from wakumail.devp2p import connection
from wakumail.devp2p.connection import SMALL_PACKET
from wakumail.devp2p.packets import SHH6, WAKU
from wakumail.waku.confirmations import MAX_RESPONSE_SIZE
from wakumail.waku.packets import MAX_REFUSED_REQUEST, MAX_STATUS_SIZE, Code
from wakumail.waku.peer_events import HistoryRequested, OversizedRequest

SIZE = 1 << 20
"""The largest packet that these peers take, whatever its code."""


def block(start: bytes, size: int) -> bytes:
    """A Snappy block of `start` and zeros, `size` bytes once inflated."""
    prefix = snappy.store_prefix(len(start) + 1)
    literal = prefix[-1:] if len(start) < 60 else prefix[-2:]
    assert len(start) < 256
    zeros = size - len(start) - 1
    copies = b"\xfe\x01\x00" * (zeros // 64) + (
        bytes([(zeros % 64 - 1) << 2 | 2, 1, 0]) if zeros % 64 else b""
    )
    return varint(size) + literal + start + b"\0" + copies


def varint(number: int) -> bytes:
    groups = []
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


class Inflated:
    """Counts the bytes that connections inflate."""

    def __init__(self) -> None:
        self.bytes = 0

    def inflate(self, data: Buffer, limit: int) -> bytes:
        inflated = snappy.inflate(data, limit)
        self.bytes += len(inflated)
        return inflated


@pytest.fixture
def inflated(monkeypatch: pytest.MonkeyPatch) -> Inflated:
    count = Inflated()
    monkeypatch.setattr(connection, "inflate", count.inflate)
    return count


def pour(alice: PeerSide, bob: PeerSide, code: int, data: bytes) -> None:
    """Send a packet of Alice's whose data is compressed already."""
    assert alice.connection.writer is not None
    shared = alice.peer._shared
    assert shared is not None
    alice.connection.writer.add(data, rlp.encode(shared.offset + code))
    carry(alice, bob)


def ready(inflated: Inflated) -> tuple[PeerSide, PeerSide]:
    alice, bob = pair(WAKU_1)
    inflated.bytes = 0
    return alice, bob


def test_the_blocks_of_this_test_inflate() -> None:
    for start in (b"", b"start", bytes(range(100))):
        for size in (len(start) + 1, 5000, 4096 + len(start) + 1):
            data = block(start, size)
            assert snappy.inflate(data, size) == start.ljust(size, b"\0")
            assert snappy.inflated_size(data) == size
            assert snappy.inflate_start(data, 64) == (start + b"\0")[:64]


@pytest.mark.parametrize(
    ("code", "limit", "counter"),
    [
        (Code.STATUS, SMALL_PACKET, "packets_status_repeated"),
        (Code.STATUS_UPDATE, MAX_STATUS_SIZE, "packets_status_update_malformed"),
        (Code.BATCH_ACK, SMALL_PACKET, "packets_unasked"),
        (Code.MESSAGE_RESPONSE, SMALL_PACKET, "packets_unasked"),
        (Code.P2P_MESSAGE, SMALL_PACKET, "packets_unasked"),
        (Code.P2P_REQUEST_COMPLETE, SMALL_PACKET, "packets_unasked"),
        (Code.POW, SMALL_PACKET, "packets_unknown"),
        (5, SMALL_PACKET, "packets_unknown"),
        (100, SMALL_PACKET, "packets_unknown"),
    ],
)
def test_what_is_ignored_is_not_inflated(
    code: int, limit: int, counter: str, inflated: Inflated
) -> None:
    alice, bob = ready(inflated)
    pour(alice, bob, code, block(b"", limit + 1))
    assert (bob.counters[counter], inflated.bytes) == (1, 0)
    pour(alice, bob, code, block(b"", limit))
    assert (bob.counters[counter], inflated.bytes) == (2, limit)
    assert not bob.connection.closed
    assert [size for _, size in bob.gated[-2:]] == [limit + 1, limit], "the limits count both"


@pytest.mark.parametrize(
    ("code", "limit", "counter"),
    [
        (Code.MESSAGES, SIZE, "packet_too_large"),
        (Code.P2P_MESSAGE, SIZE, "packet_too_large"),
        (Code.P2P_REQUEST_COMPLETE, SMALL_PACKET, "completion_malformed"),
        (Code.BATCH_ACK, SMALL_PACKET, "confirmation_malformed"),
        (Code.MESSAGE_RESPONSE, MAX_RESPONSE_SIZE, "confirmation_malformed"),
    ],
)
def test_what_breaks_a_rule_ends_the_connection(
    code: int, limit: int, counter: str, inflated: Inflated
) -> None:
    alice, bob = ready(inflated)
    bob.peer.expects_history = True
    bob.peer.send_messages(b"\xc0")
    pour(alice, bob, code, block(b"", limit + 1))
    ended(bob, counter)
    assert inflated.bytes <= len(b"\xc0") + len(b"\xc1\x10"), "what Bob sent to Alice"


def test_a_request_of_ten_mebibytes_of_zeros(inflated: Inflated) -> None:
    alice, bob = ready(inflated)
    pour(alice, bob, Code.P2P_REQUEST, block(b"", 10 << 20))
    assert the(OversizedRequest, bob.happened[-1]).start == b"\0"
    pour(alice, bob, Code.P2P_REQUEST, block(b"\xf9\xff\xff\xa0" + b"i" * 32, 10 << 20))
    assert the(OversizedRequest, bob.happened[-1]).start[:36] == b"\xf9\xff\xff\xa0" + b"i" * 32
    assert inflated.bytes == 0
    pour(alice, bob, Code.P2P_REQUEST, block(b"", MAX_REFUSED_REQUEST))
    the(HistoryRequested, bob.happened[-1])
    assert inflated.bytes == MAX_REFUSED_REQUEST


def test_nothing_but_a_status_is_inflated_before_the_status(inflated: Inflated) -> None:
    for code in (Code.MESSAGES, Code.P2P_REQUEST, Code.STATUS_UPDATE, 99):
        alice, bob, (shared, *_) = greeted()
        inflated.bytes = 0
        assert alice.connection.writer is not None
        data = block(b"", SMALL_PACKET + 1)
        alice.connection.writer.add(data, rlp.encode(shared.offset + code))
        bob.receive(alice.take())
        ended(bob, "packets_before_status")
        assert inflated.bytes == 0
    alice, bob, (shared, *_) = greeted()
    inflated.bytes = 0
    assert alice.connection.writer is not None
    alice.connection.writer.add(block(b"", MAX_STATUS_SIZE + 1), rlp.encode(shared.offset))
    bob.receive(alice.take())
    ended(bob, "status_malformed")
    assert inflated.bytes == 0


def test_a_capability_that_is_not_spoken_is_not_inflated(inflated: Inflated) -> None:
    alice, bob, shared = greeted((*WAKU, SHH6))
    (whisper,) = (each for each in shared if each.name == "shh")
    inflated.bytes = 0
    assert alice.connection.writer is not None
    alice.connection.writer.add(block(b"", SIZE), rlp.encode(whisper.offset + Code.MESSAGES))
    bob.receive(alice.take())
    assert (bob.counters["packets_unasked"], inflated.bytes) == (1, 0)


def test_without_compression_the_limits_hold_too() -> None:
    alice, bob = pair(WAKU_1)
    bob.connection._snappy = False
    pour(alice, bob, Code.P2P_REQUEST, b"start" + bytes(MAX_REFUSED_REQUEST))
    assert the(OversizedRequest, bob.happened[-1]).start == (b"start" + bytes(59))
