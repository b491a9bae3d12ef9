"""Messages read: the ranges of the specification, and an error of its own for every breach."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakumail.archive.results import Bound
from wakumail.mail.sync import message_errors as errors
from wakumail.mail.sync.items import END
from wakumail.mail.sync.message_reader import (
    FINGERPRINT,
    IDS,
    MAX_MESSAGE,
    MAX_RANGES,
    SKIP,
    MessageReader,
)
from wakumail.mail.sync.message_writer import MessageWriter

BREACHES = {
    "": errors.MessageEmpty,
    "5f": errors.VersionInvalid,
    "70": errors.VersionInvalid,
    "60": errors.VersionUnknown,
    "62": errors.VersionUnknown,
    "61 80": errors.VarintNotMinimal,
    "61 8001 00 00": errors.VarintNotMinimal,
    "61 05 8000 00": errors.VarintNotMinimal,
    "61 05 00 8001": errors.VarintNotMinimal,
    "61 00 00 02 8000": errors.VarintNotMinimal,
    "61 82808080808080808000 00 00": errors.VarintTooLarge,
    "61 ffffffffffffffffffff7f 00 00": errors.VarintTooLarge,
    "61 05": errors.MessageTruncated,
    "61 85": errors.MessageTruncated,
    "61 05 01": errors.MessageTruncated,
    "61 05 00": errors.MessageTruncated,
    "61 05 00 01 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": errors.MessageTruncated,
    "61 05 00 02": errors.MessageTruncated,
    "61 05 00 02 01": errors.MessageTruncated,
    "61 05 00 02 81ffffffffffffffff7f": errors.MessageTruncated,
    "61 05 00 03": errors.ModeUnknown,
    "61 05 00 ff7f": errors.ModeUnknown,
    f"61 05 21 {'aa' * 33} 00": errors.BoundInvalid,
    "61 05 81ffffffffffffffff7f 00": errors.BoundInvalid,
    "61 00 01 aa 00": errors.BoundInvalid,
    "61 81ffffffffffffffff7f 00 00 02 00 00": errors.BoundInvalid,  # 2^64 - 2, and one more
    "61 05 01 02 00 01 01 01 00": errors.BoundDescending,
    "61 05 02 0101 00 01 01 01 00": errors.BoundDescending,
    "61 05 01 02 00 01 00 00": errors.BoundDescending,
    "61 00 00 00 00": errors.BytesTrailing,
    "61 00 00 00 00 00 00": errors.BytesTrailing,
    "61 00 00 00 05 00 00": errors.BytesTrailing,
    "61 00 00 02 00 00 00 02 00": errors.BytesTrailing,
    f"61 00 00 00 00 00 01 {'aa' * 16} 00": errors.BytesTrailing,
    "61" + " 01 00 00" * (MAX_RANGES + 1): errors.TooManyRanges,
    "61" + "00" * MAX_MESSAGE: errors.MessageTooLarge,
}
"""Messages, and the error that each is refused with."""


@pytest.mark.parametrize("message", BREACHES, ids=lambda message: message[:40])
def test_a_breach_has_its_error(message: str) -> None:
    with pytest.raises(BREACHES[message]) as raised:
        MessageReader(bytes.fromhex(message))
    assert type(raised.value) is BREACHES[message]


def test_every_error_of_the_reader_is_tried() -> None:
    """The two others are of the initiator."""
    known = set(errors.NegentropyError.__subclasses__())
    assert known - set(BREACHES.values()) == {errors.IdOutside, errors.TripsEndless}


def test_all_kinds_of_ranges() -> None:
    message = bytes.fromhex(
        f"61 05 00 00 01 02 a1a2 01 {'0f' * 16} 8100 00 02 02 {'1d' * 32}{'2d' * 32} 00 00 02 00"
    )
    assert list(MessageReader(message)) == [
        (Bound(4, b""), SKIP, b""),
        (Bound(4, b"\xa1\xa2"), FINGERPRINT, b"\x0f" * 16),
        (Bound(131, b""), IDS, b"\x1d" * 32 + b"\x2d" * 32),
        (END, IDS, b""),
    ]


def test_a_message_may_be_empty() -> None:
    assert list(MessageReader(b"\x61")) == []


def test_the_rest_behind_infinity_is_taken() -> None:
    """The reference adds it where the last ids of all went over the frame limit."""
    rest = (END, FINGERPRINT, b"\x0f" * 16)
    message = bytes.fromhex(f"61 00 00 02 00 00 00 01 {'0f' * 16}")
    assert list(MessageReader(message)) == [(END, IDS, b""), rest]


def test_as_many_ranges_as_allowed() -> None:
    message = b"\x61" + b"\1\0\0" * MAX_RANGES
    assert len(list(MessageReader(message))) == MAX_RANGES


def test_the_largest_time() -> None:
    message = bytes.fromhex("61 81ffffffffffffffff7f 00 00")
    assert list(MessageReader(message)) == [(Bound(2**64 - 2, b""), SKIP, b"")]


bounds = st.builds(
    Bound,
    st.integers(0, 2**64 - 2) | st.integers(0, 300),
    st.binary(max_size=3) | st.binary(max_size=32),
)


def place(bound: Bound) -> tuple[int, bytes]:
    """The key that orders bounds: the bytes that a prefix leaves out are zero."""
    return bound.time, bound.prefix.ljust(32, b"\0")


@given(st.lists(bounds, max_size=20), st.data())
def test_what_is_written_is_read(unordered: list[Bound], data: st.DataObject) -> None:
    writer = MessageWriter()
    ranges: list[tuple[Bound, int, bytes]] = []
    for upper in [*sorted(unordered, key=place), END]:
        mode = data.draw(st.sampled_from([SKIP, FINGERPRINT, IDS]))
        writer.keep()
        payload = b""
        if mode == SKIP:
            writer.add_skip(upper)
        elif mode == FINGERPRINT:
            writer.add_fingerprint(upper, (7, bytes(32)))
            payload = bytes(writer)[-16:]
        else:
            payload = data.draw(st.binary(min_size=32, max_size=32)) * data.draw(st.integers(0, 3))
            items = (b"time" + payload[:32]) * (len(payload) // 32)
            writer.add_ids(upper, items)
        if data.draw(st.booleans()):
            ranges.append((upper, mode, payload))
        else:
            writer.undo()
    message = bytes(writer)
    assert len(writer) == len(message)
    assert list(MessageReader(message)) == ranges


@given(st.lists(bounds, min_size=2, max_size=5))
def test_descending_bounds_are_refused(several: list[Bound]) -> None:
    ordered = sorted(several, key=place)
    writer = MessageWriter()
    for bound in ordered:
        writer.add_skip(bound)
    assert [upper for upper, _, _ in MessageReader(bytes(writer))] == ordered
    last = ordered[-1]
    if place(last) > (last.time, bytes(32)):
        writer.add_skip(Bound(last.time, b""))
        with pytest.raises(errors.BoundDescending):
            MessageReader(bytes(writer))
