"""Snappy blocks against another implementation, and bytes that are no block."""

from collections.abc import Callable

import pytest
from cramjam import snappy
from hypothesis import given, settings
from hypothesis import strategies as st

from wakumail.base.snappy import inflate, store_prefix
from wakumail.errors import PacketError, PacketTooLarge

LIMIT = 1 << 20
EDGES = [0, 1, 59, 60, 61, 127, 128, 255, 256, 257, 16383, 16384, 65535, 65536, 65537, 1 << 17]
FORMS: dict[str, Callable[[int], bytes]] = {
    "zeros": bytes,
    "a pattern": lambda size: (b"abcdefg" * (size // 7 + 1))[:size],
    "noise": lambda size: bytes(i * i * 2654435761 >> 16 & 0xFF for i in range(size)),
}
BAD = {
    "nothing": b"",
    "a size cut short": b"\x80",
    "a size of 33 bits": b"\x80\x80\x80\x80\x10",
    "a size without end": b"\x81" + b"\x80" * 9 + b"\x00\x00a",
    "elements that make too little": b"\x02\x00a",
    "elements that make too much": b"\x01\x04ab",
    "no elements": b"\x01",
    "a literal cut short": b"\x04\x0cabc",
    "a literal of 2^32 bytes": b"\x04\xfc\xff\xff\xff\xff",
    "a literal's length cut short": b"\x04\xf4\x03",
    "a copy cut short": b"\x05\x00a\x02\x01",
    "a copy of what stands before all": b"\x05\x00a\x0e\x02\x00",
    "a copy from where it goes": b"\x05\x00a\x0e\x00\x00",
    "a copy over the end": b"\x03\x00a\x0e\x01\x00",
    "a far copy of what stands before all": b"\x05\x00a\x0f\x00\x00\x01\x00",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", EDGES)
def test_what_others_compress(form: str, size: int) -> None:
    data = FORMS[form](size)
    assert inflate(snappy.compress_raw(data), size) == data


@pytest.mark.parametrize("size", EDGES)
def test_what_we_store(size: int) -> None:
    data = FORMS["noise"](size)
    block = store_prefix(size) + data
    assert bytes(snappy.decompress_raw(block)) == data
    assert inflate(block, size) == data


def test_what_we_store_has_all_lengths_of_a_literal() -> None:
    assert store_prefix(1 << 24) == b"\x80\x80\x80\x08\xf8\xff\xff\xff"
    assert store_prefix((1 << 24) + 1) == b"\x81\x80\x80\x08\xfc\x00\x00\x00\x01"
    with pytest.raises(ValueError, match="fewer than 2\\^32"):
        store_prefix(1 << 32)


@pytest.mark.parametrize("size", [size for size in EDGES if size])
def test_the_limit(size: int) -> None:
    block = snappy.compress_raw(bytes(size))
    assert len(inflate(block, size)) == size
    with pytest.raises(PacketTooLarge, match=str(size)):
        inflate(block, size - 1)


@pytest.mark.parametrize("what", BAD)
def test_what_is_none(what: str) -> None:
    with pytest.raises(PacketError):
        inflate(BAD[what], LIMIT)


def test_a_size_may_be_longer_than_need_be() -> None:
    assert inflate(b"\x81\x80\x80\x80\x80\x00\x00a", LIMIT) == b"a"


def test_copies_of_every_kind() -> None:
    """Copies of all three offset sizes; of bytes that they make themselves, and of earlier ones."""
    assert inflate(b"\x09\x00a\x11\x01", LIMIT) == b"a" * 9
    assert inflate(b"\x06\x04ab\x0e\x02\x00", LIMIT) == b"ababab"
    assert inflate(b"\x06\x08abc\x0b\x03\x00\x00\x00", LIMIT) == b"abcabc"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=20), st.integers(0, 80))
def test_whatever_comes(start: bytes, noise: bytes, place: int) -> None:
    """We refuse what the other implementation refuses, and inflate the rest to the same bytes."""
    block = bytearray(snappy.compress_raw(start * 3))
    block[place : place + len(noise)] = noise
    try:
        expected = bytes(snappy.decompress_raw(block))
    except Exception:
        with pytest.raises((PacketError, PacketTooLarge)):
            inflate(block, LIMIT)
        return
    assert inflate(block, len(expected)) == expected
