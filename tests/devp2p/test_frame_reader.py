"""Frames: recorded ones, those of an independent codec (pycryptodome), and broken ones."""

import itertools
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.codec import (
    AES_KEY,
    MAC_KEY,
    RIGHT_SEED,
    FrameCodec,
    OracleSender,
    chunks,
    left,
    right,
    xor,
)
from tests.vectors import VECTORS
from wakumail.base import rlp
from wakumail.devp2p.frame_reader import MAX_FRAME, FrameReader
from wakumail.errors import FrameError

BLOCK = 16
HEADER = 32  # bytes: the header and its MAC
BUFFER_SIZE = 64 * 1024  # bytes that a reader is offered
MAX_UNPULLED = 1024 * 1024  # bytes that may wait for next_frame


def sender() -> OracleSender:
    """The independent codec, sending to left()."""
    return OracleSender(AES_KEY, MAC_KEY, RIGHT_SEED)


def feed(codec: FrameCodec, data: bytes) -> None:
    """Receive `data` by copying it."""
    codec.feed(data)


def write(codec: FrameCodec, data: bytes) -> None:
    """Receive `data` as an event loop does: into the codec's buffer, as much as fits at a time."""
    while data:
        with codec.get_buffer(-1) as room:
            count = min(len(room), len(data))
            assert count
            room[:count] = data[:count]
        codec.received(count)
        data = data[count:]


def frames(codec: FrameCodec) -> list[bytes]:
    """All complete frames."""
    return [bytes(frame) for frame in iter(codec.next_frame, None)]


def pull(codec: FrameCodec) -> bytes:
    """The next frame; it must be complete."""
    frame = codec.next_frame()
    assert frame is not None
    return bytes(frame)


def padded(size: int) -> int:
    """Bytes on the wire of a frame with `size` bytes of data."""
    return size + -size % BLOCK


payloads = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=40),
        st.integers(1, 6000).map(lambda size: bytes(i % 251 for i in range(size))),
    ),
    min_size=1,
    max_size=8,
)
delivery = pytest.mark.parametrize("deliver", [feed, write])
Deliver = Callable[[FrameCodec, bytes], None]


class TestRecordedFrames:
    """The frames of a session between two status-go nodes."""

    def _ends(self) -> tuple[FrameCodec, FrameCodec]:
        session = VECTORS["rlpx"]
        aes, mac, auth, ack = (
            bytes.fromhex(session[name]) for name in ("aes_secret", "mac_secret", "auth", "ack")
        )
        initiator = xor(mac, bytes.fromhex(session["recipient_nonce"])) + auth
        recipient = xor(mac, bytes.fromhex(session["initiator_nonce"])) + ack
        one, other = (initiator, recipient), (recipient, initiator)
        return FrameCodec(aes, mac, *one), FrameCodec(aes, mac, *other)

    def test_both_directions_byte_for_byte(self) -> None:
        initiator, recipient = self._ends()
        recorded = VECTORS["rlpx"]["frames"]
        assert {frame["dir"] for frame in recorded} == {"i2r", "r2i"}
        for frame in recorded:
            ends = (initiator, recipient)
            source, target = ends if frame["dir"] == "i2r" else ends[::-1]
            data = bytes.fromhex(frame.get("compressed", frame["plain"]))
            message_id = rlp.encode(frame["code"])
            assert source.encode(data, message_id).hex() == frame["wire"]
            target.feed(bytes.fromhex(frame["wire"]))
            assert frames(target) == [message_id + data]

    def test_all_at_once(self) -> None:
        _, recipient = self._ends()
        recorded = [frame for frame in VECTORS["rlpx"]["frames"] if frame["dir"] == "i2r"]
        write(recipient, b"".join(bytes.fromhex(frame["wire"]) for frame in recorded))
        assert len(frames(recipient)) == len(recorded) > 3

    def test_ciphertext_of_the_golden_frame(self) -> None:
        # Its MACs come from a fake hash, which returns constants; the rest is real.
        golden = VECTORS["rlpx_eip8"]["frame_golden"]
        aes, mac = bytes.fromhex(golden["aes"]), bytes.fromhex(golden["mac"])
        codec = FrameCodec(aes, mac, b"", b"")
        wire = codec.encode(bytes.fromhex(golden["plain"]), rlp.encode(golden["code"]))
        expected = bytes.fromhex(golden["wire"])
        assert len(wire) == len(expected)
        assert wire[:16] == expected[:16]
        assert wire[32:48] == expected[32:48]


class TestAgainstTheOracle:
    @given(payloads)
    @settings(max_examples=60, deadline=None)
    def test_encode(self, contents: list[bytes]) -> None:
        codec, oracle = right(), sender()
        for data in contents:
            assert codec.encode(data) == oracle.encode(data)

    @delivery
    @given(contents=payloads, cuts=st.lists(st.integers(0, 2**20), max_size=12))
    @settings(max_examples=60, deadline=None)
    def test_delivery_in_pieces(
        self, deliver: Deliver, contents: list[bytes], cuts: list[int]
    ) -> None:
        codec, oracle = left(), sender()
        got = []
        for chunk in chunks(b"".join(map(oracle.encode, contents)), cuts):
            deliver(codec, chunk)
            got += frames(codec)
        assert got == contents
        assert codec.buffered == codec.capacity == 0

    @delivery
    def test_delivery_byte_by_byte(self, deliver: Deliver) -> None:
        codec, oracle = left(), sender()
        contents = [bytes([size]) * size for size in (1, 15, 16, 17, 33)]
        got = []
        for byte in b"".join(map(oracle.encode, contents)):
            deliver(codec, bytes([byte]))
            got += frames(codec)
        assert got == contents

    def test_many_frames_both_ways(self) -> None:
        one, other = left(), right()
        for i in range(400):
            there, back = bytes([i % 256]) * (1 + i * 37 % 5000), i.to_bytes(2, "big")
            write(other, one.encode(there))
            write(one, other.encode(back))
            assert frames(other) == [there]
            assert frames(one) == [back]

    def test_padding_and_header_data_are_not_looked_at(self) -> None:
        codec, oracle = left(), sender()
        codec.feed(oracle.encode(b"data", padding=b"x"))
        header = oracle.header(1, b"\xc2\x07\x09 and more")
        body = oracle.cipher.encrypt(b"y" * BLOCK)
        oracle.mac.update(body)
        codec.feed(header + body + oracle._stir(oracle._digest()))
        assert frames(codec) == [b"data", b"y"]


class TestBrokenFrames:
    @delivery
    @given(contents=payloads, place=st.integers(0, 2**20), bit=st.integers(0, 7))
    @settings(max_examples=100, deadline=None)
    def test_one_wrong_bit(
        self, deliver: Deliver, contents: list[bytes], place: int, bit: int
    ) -> None:
        oracle = sender()
        wires = [oracle.encode(data) for data in contents]
        wire = bytearray(b"".join(wires))
        place %= len(wire)
        wire[place] ^= 1 << bit
        intact = sum(end <= place for end in itertools.accumulate(map(len, wires)))
        codec = left()
        deliver(codec, bytes(wire))
        for data in contents[:intact]:
            assert pull(codec) == data
        with pytest.raises(FrameError, match="wrong MAC"):
            codec.next_frame()

    def test_every_bit_counts(self) -> None:
        wire = right().encode(b"data")
        for bit in range(8 * len(wire)):
            codec = left()
            codec.feed(xor(wire, (1 << bit).to_bytes(len(wire), "little")))
            with pytest.raises(FrameError, match="wrong MAC"):
                codec.next_frame()

    @given(st.binary(min_size=HEADER, max_size=200))
    @settings(max_examples=50, deadline=None)
    def test_noise(self, noise: bytes) -> None:
        codec = left()
        codec.feed(noise)
        with pytest.raises(FrameError):
            codec.next_frame()

    def test_replayed_frame(self) -> None:
        codec, wire = left(), right().encode(b"once")
        codec.feed(wire)
        assert frames(codec) == [b"once"]
        codec.feed(wire)
        with pytest.raises(FrameError):
            codec.next_frame()

    def test_reflected_frame(self) -> None:
        codec = left()
        codec.feed(codec.encode(b"our own"))
        with pytest.raises(FrameError):
            codec.next_frame()

    def test_skipped_frame(self) -> None:
        codec, source = left(), right()
        source.encode(b"lost")
        codec.feed(source.encode(b"second"))
        with pytest.raises(FrameError):
            codec.next_frame()

    def test_no_data(self) -> None:
        codec = left()
        codec.feed(sender().header(0))
        with pytest.raises(FrameError, match="without data"):
            codec.next_frame()

    def test_a_failed_codec_stays_failed(self) -> None:
        codec = left()
        codec.feed(bytes(HEADER))
        with pytest.raises(FrameError):
            codec.next_frame()
        calls: list[Callable[[], object]] = [
            codec.next_frame,
            lambda: codec.get_buffer(-1),
            lambda: codec.received(0),
            lambda: codec.feed(b""),
        ]
        for call in calls:
            with pytest.raises(FrameError, match="before"):
                call()
        assert codec.buffered == codec.capacity == 0


class TestLimits:
    @pytest.mark.parametrize("limit", [1, 15, 16, 17, 1000, MAX_FRAME - 1])
    def test_max_frame(self, limit: int) -> None:
        codec = left(limit)
        codec.feed(sender().header(limit))
        assert codec.next_frame() is None
        codec = left(limit)
        codec.feed(sender().header(limit + 1))
        with pytest.raises(FrameError, match=str(limit + 1)):
            codec.next_frame()

    @delivery
    def test_the_largest_frame(self, deliver: Deliver) -> None:
        data = (bytes(range(256)) * (1 << 16))[:MAX_FRAME]
        wire = right().encode(data[1:], data[:1])
        assert len(wire) == HEADER + padded(MAX_FRAME) + BLOCK
        codec = left()
        for at in range(0, len(wire), 1 << 20):
            assert frames(codec) == []
            deliver(codec, wire[at : at + (1 << 20)])
        assert frames(codec) == [data]
        assert codec.capacity == 0

    def test_encode_refuses_what_no_header_can_say(self) -> None:
        codec = left()
        for data, prefix in [(b"", b""), (bytes(MAX_FRAME + 1), b""), (bytes(MAX_FRAME), b"\x10")]:
            with pytest.raises(ValueError, match="a frame holds"):
                codec.encode(data, prefix)
        # The refused calls changed nothing in the stream.
        assert codec.encode(b"data") == left().encode(b"data")

    @pytest.mark.parametrize("size", [0, 16, 31, 33])
    def test_keys_have_32_bytes(self, size: int) -> None:
        for keys in [(bytes(size), MAC_KEY), (AES_KEY, bytes(size))]:
            with pytest.raises(ValueError, match="a key has"):
                FrameCodec(*keys, b"", b"")

    @pytest.mark.parametrize("limit", [-1, 0, MAX_FRAME + 1])
    def test_max_frame_itself_is_bounded(self, limit: int) -> None:
        with pytest.raises(ValueError, match="max_frame"):
            left(limit)


class TestBuffer:
    def test_nothing_is_held_when_idle(self) -> None:
        codec = left()
        assert codec.capacity == 0
        assert len(codec.get_buffer(-1)) == codec.capacity == BUFFER_SIZE
        codec.received(0)
        assert codec.next_frame() is None
        assert codec.capacity == 0

    def test_an_announced_frame_is_not_allocated_at_once(self) -> None:
        wire = right().encode(bytes(MAX_FRAME))
        codec = left()
        tracemalloc.start()
        try:
            codec.feed(wire[:HEADER])
            assert codec.next_frame() is None
            assert len(codec.get_buffer(1 << 24)) <= BUFFER_SIZE
            assert tracemalloc.get_traced_memory()[1] < 4 * BUFFER_SIZE
        finally:
            tracemalloc.stop()

    def test_a_frame_over_the_limit_is_refused_before_it_is_allocated(self) -> None:
        codec = left(MAX_FRAME - 1)
        wire = sender().header(MAX_FRAME) + bytes(100)
        tracemalloc.start()
        try:
            codec.feed(wire)
            with pytest.raises(FrameError):
                codec.next_frame()
            assert tracemalloc.get_traced_memory()[1] < 4 * BUFFER_SIZE
        finally:
            tracemalloc.stop()

    def test_it_grows_with_what_arrives(self) -> None:
        size = 4_000_000
        wire = memoryview(right().encode(bytes(size)))
        codec = left()
        at, moves, capacity = 0, 0, 0
        while at < len(wire):
            room = codec.get_buffer(-1)
            count = min(len(room), len(wire) - at, 10_000)
            room[:count] = wire[at : at + count]
            codec.received(count)
            at += count
            moves += codec.capacity != capacity
            capacity = codec.capacity
            assert capacity <= 2 * codec.buffered + 2 * BUFFER_SIZE
            assert capacity <= padded(size) + BLOCK
            if at < len(wire):
                assert codec.next_frame() is None
        assert moves < 12
        assert pull(codec) == bytes(size)

    def test_a_byte_does_not_pin_the_memory_of_a_long_frame(self) -> None:
        codec, source = left(), right()
        codec.feed(source.encode(bytes(3_000_000)) + source.encode(b"next")[:1])
        assert codec.capacity > 3_000_000
        assert [len(frame) for frame in frames(codec)] == [3_000_000]
        assert codec.buffered == 1
        assert codec.capacity <= 2 * BUFFER_SIZE

    def test_short_frames_share_a_buffer(self) -> None:
        codec, source = left(), right()
        # Nearly every read ends within a frame, so the buffer is rarely empty.
        stream = b"".join(source.encode(bytes([i]) * 700) for i in range(256))
        got = []
        for chunk in chunks(stream, range(500, len(stream), 301)):
            write(codec, chunk)
            got += frames(codec)
            assert len(codec.get_buffer(-1)) >= padded(700) + BLOCK - codec.buffered
            assert codec.capacity <= 2 * BUFFER_SIZE
        assert got == [bytes([i]) * 700 for i in range(256)]

    def test_reading_ahead_is_bounded(self) -> None:
        codec, source = left(), right()
        wire = source.encode(bytes(10_000))
        codec.feed(wire)
        while codec.buffered < MAX_UNPULLED + len(wire):
            codec.received(len(codec.get_buffer(-1)))
        assert codec.buffered <= MAX_UNPULLED + len(wire) + BUFFER_SIZE
        with pytest.raises(BufferError):
            codec.get_buffer(-1)
        assert pull(codec) == bytes(10_000)
        with pytest.raises(FrameError):  # the "received" bytes were never written
            codec.next_frame()

    @pytest.mark.parametrize("count", [-1, BUFFER_SIZE + 1])
    def test_received_more_than_there_was_room(self, count: int) -> None:
        codec = left()
        codec.get_buffer(-1)
        with pytest.raises(ValueError, match="do not fit"):
            codec.received(count)
        codec.received(BUFFER_SIZE)
        with pytest.raises(ValueError, match="do not fit"):
            codec.received(1)

    def test_received_without_a_buffer(self) -> None:
        with pytest.raises(ValueError, match="do not fit"):
            left().received(1)

    def test_frames_are_read_only_and_outlive_the_codec(self) -> None:
        codec, source = left(), right()
        codec.feed(source.encode(b"a frame"))
        frame = codec.next_frame()
        assert frame is not None
        assert frame.readonly
        codec.feed(source.encode(bytes(200_000)))
        stale = codec.get_buffer(-1)
        codec.next_frame()
        del codec
        # Their contents are undefined now; the test is that they can be read.
        assert len(bytes(frame)) == 7
        stale[:] = bytes(len(stale))

    def test_a_frame_fed_back(self) -> None:
        codec, source = left(), right()
        codec.feed(source.encode(bytes(50_000)))
        frame = codec.next_frame()
        assert frame is not None
        codec.feed(frame)
        with pytest.raises(FrameError):
            codec.next_frame()


class TestArguments:
    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_any_contiguous_buffer(self, kind: type[bytes]) -> None:
        wire = left().encode(b"payload", b"\x10")
        codec = right()
        codec.feed(kind(wire))
        assert frames(codec) == [b"\x10payload"]

    def test_what_is_no_buffer(self) -> None:
        codec = left()
        with pytest.raises(BufferError):
            codec.feed(memoryview(b"abcdef")[::2])
        with pytest.raises(TypeError):  # it could change before it is encrypted
            codec.encode(bytearray(b"data"))  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            codec.encode(b"data", bytearray(b"prefix"))  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            codec.feed(None)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            FrameCodec(AES_KEY, MAC_KEY, b"", None)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            FrameReader.__new__(FrameReader)  # type: ignore[call-arg]

    @given(st.binary(max_size=50), st.binary(max_size=50))
    @settings(max_examples=40, deadline=None)
    def test_the_prefix_is_only_put_in_front(self, prefix: bytes, data: bytes) -> None:
        assume(prefix or data)
        assert left().encode(data, prefix) == left().encode(prefix + data)
