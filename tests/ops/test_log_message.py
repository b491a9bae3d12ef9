"""Messages of the log: what is packed is unpacked, and nothing else is taken for one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archive_model import START, batch_of, envelope
from wakumail.base.keccak import keccak256
from wakumail.ops.cluster.log_message import (
    MAX_MESSAGE,
    MAX_STREAM,
    VERSION,
    NotABatch,
    message_id,
    pack,
    split,
    unpack,
)
from wakumail.waku.envelope import Batch, parse

SIZES = st.lists(st.integers(8, 300), min_size=1, max_size=20)


def some(sizes: list[int]) -> Batch:
    return batch_of([envelope(START + n, b"topi", n, size) for n, size in enumerate(sizes)])


@given(st.lists(SIZES, min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_a_message_has_the_accepted_envelopes_of_its_batches(batches: list[list[int]]) -> None:
    packed = pack([some(sizes).stream() for sizes in batches])
    assert packed[0] == VERSION
    expected = [each.rlp for sizes in batches for each in some(sizes)]
    assert packed[1:] == b"".join(expected)
    found = unpack(packed)
    assert [each.rlp for each in found] == expected
    assert found.accepted == len(expected)
    assert message_id(packed) == keccak256(packed).hex()


def test_dropped_envelopes_are_left_out() -> None:
    two = some([20, 500])
    small = parse(two.raw, max_envelope=100)
    assert small.stream() == two[0].rlp


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_bytes_of_others_are_refused_or_are_envelopes(data: bytes) -> None:
    try:
        batch = unpack(data)
    except NotABatch:
        return
    assert data == pack([batch.stream()])


@pytest.mark.parametrize(
    "message",
    [
        b"",
        bytes([VERSION]),
        bytes([VERSION + 1]) + some([20]).stream(),
        bytes([VERSION]) + b"no RLP",
        bytes([VERSION]) + some([20]).stream() + b"\xc0",
        bytes([VERSION]) + some([20]).stream()[:-1],
        bytes([VERSION]) + bytes(9 << 20),
        pack([some([20]).stream()] * 40_000),
    ],
    ids=["empty", "no envelope", "version", "no RLP", "no envelope behind", "cut", "9 MB", "large"],
)
def test_what_no_host_has_written_is_refused(message: bytes) -> None:
    with pytest.raises(NotABatch):
        unpack(message)


@given(st.lists(st.integers(100_000, 600_000), min_size=1, max_size=8))
@settings(max_examples=10, deadline=None)
def test_a_large_batch_is_split_at_envelopes(sizes: list[int]) -> None:
    batch = some(sizes)
    streams = split(batch)
    assert b"".join(streams) == batch.stream()
    assert all(0 < len(stream) <= MAX_STREAM for stream in streams)
    assert all(len(pack([stream])) <= MAX_MESSAGE for stream in streams)
    assert sum(len(unpack(pack([stream]))) for stream in streams) == len(sizes)
