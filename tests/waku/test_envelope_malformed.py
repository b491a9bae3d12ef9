"""Packets and streams with anything but envelopes in them."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.envelope_oracle import (
    FREE,
    GOOD,
    NOW,
    TOPIC,
    Fields,
    assert_is,
    envelopes_of,
    of_size,
    packet_of,
)
from wakumail.base import rlp
from wakumail.errors import RlpError
from wakumail.waku import envelope
from wakumail.waku.envelope import Envelope, judge, parse, parse_stream

EXPIRY, TTL, DATA, NONCE = b"\x84\x65\x53\xf1\x32", b"\x32", b"\x83abc", b"\x05"
ITEMS = [EXPIRY, TTL, b"\x84" + TOPIC, DATA, NONCE]


def with_item(place: int, raw: bytes) -> bytes:
    return rlp.join_list([*ITEMS[:place], raw, *ITEMS[place + 1 :]])


MALFORMED = {
    "no item": b"\xc0",
    "four items": rlp.join_list(ITEMS[:4]),
    "six items": rlp.join_list([*ITEMS, b"\x80"]),
    "a string": b"\x83abc",
    "a byte": b"\x01",
    "packed in a list": rlp.join_list([rlp.join_list(ITEMS)]),
    **{f"list as item {i}": with_item(i, b"\xc0") for i in range(5)},
    **{f"long list as item {i}": with_item(i, b"\xf8\x38" + bytes(56)) for i in range(5)},
    "expiry with a zero": with_item(0, b"\x85\x00\x65\x53\xf1\x32"),
    "expiry of zero as a byte": with_item(0, b"\x00"),
    "expiry of 5 bytes": with_item(0, b"\x85\x01\x00\x00\x00\x00"),
    "ttl with a zero": with_item(1, b"\x82\x00\x32"),
    "ttl as a string of one": with_item(1, b"\x81\x32"),
    "ttl of 5 bytes": with_item(1, b"\x85\x01\x00\x00\x00\x00"),
    "no topic": with_item(2, b"\x80"),
    "topic of 1 byte": with_item(2, b"\x01"),
    "topic of 3 bytes": with_item(2, b"\x83abc"),
    "topic of 5 bytes": with_item(2, b"\x85abcde"),
    "topic in the long form": with_item(2, b"\xb8\x04abcd"),
    "data of one in two": with_item(3, b"\x81\x05"),
    "data in the long form": with_item(3, b"\xb8\x03abc"),
    "data with a padded size": with_item(3, b"\xb9\x00\x38" + bytes(56)),
    "data beyond the envelope": with_item(3, b"\xa0abc"),
    "data of 4 GiB": with_item(3, b"\xbb\xff\xff\xff\xff"),
    "data of 2^64 bytes": with_item(3, b"\xbf" + b"\xff" * 8),
    "nonce of zero as a byte": with_item(4, b"\x00"),
    "nonce with a zero": with_item(4, b"\x88\x00" + bytes(7)),
    "nonce of 9 bytes": with_item(4, b"\x89" + b"\x01" * 9),
    "nonce cut off": with_item(4, b"\x88\x01"),
    "a long header": b"\xf8\x10" + b"".join(ITEMS),
    "a padded header": b"\xf9\x00\x10" + b"".join(ITEMS),
}


def test_the_parts_make_a_good_one() -> None:
    assert Envelope.decode(rlp.join_list(ITEMS)).data == b"abc"


@pytest.mark.parametrize("bad", MALFORMED.values(), ids=MALFORMED.keys())
def test_one_malformed_envelope_spoils_the_packet(bad: bytes) -> None:
    for before, after in [(0, 0), (0, 2), (3, 0), (70, 1)]:
        envelopes = [GOOD.rlp] * before + [bad] + [GOOD.rlp] * after
        for call in every_reader(envelopes):
            with pytest.raises(RlpError):
                call()


def every_reader(envelopes: list[bytes]) -> Iterator[Callable[[], object]]:
    packet = rlp.join_list(envelopes)
    yield lambda: judge(packet, FREE, NOW)
    yield lambda: parse(packet)
    yield lambda: parse_stream(b"".join(envelopes), final=True)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x80",
        b"\x01",
        b"\x83abc",
        GOOD.rlp,
        rlp.join_list([GOOD.rlp])[:-1],
        rlp.join_list([GOOD.rlp]) + b"\x00",
        rlp.join_list([GOOD.rlp]) + b"\xc0",
        b"\xc0\xc0",
        b"\xf8",
        b"\xf8" + bytes([len(GOOD.rlp)]) + GOOD.rlp,
        b"\xf9\x00\xa0" + bytes(160),
        b"\xfb\xff\xff\xff\xff",
        b"\xff" + b"\xff" * 8,
        rlp.encode(GOOD.rlp),
    ],
    ids=lambda packet: packet[:8].hex() or "empty",
)
def test_malformed_packets(packet: bytes) -> None:
    with pytest.raises(RlpError):
        judge(packet, FREE, NOW)
    with pytest.raises(RlpError):
        parse(packet)


@given(st.lists(envelopes_of, min_size=1, max_size=3), st.data())
@settings(max_examples=150, deadline=None)
def test_mutations_are_refused_or_canonical(envelopes: list[Fields], data: st.DataObject) -> None:
    mutant = bytearray(packet_of(envelopes))
    mutant[data.draw(st.integers(0, len(mutant) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        batch = parse(bytes(mutant))
    except RlpError:
        return
    remade = [envelope.make_envelope(e.expiry, e.ttl, e.topic, e.data, e.nonce) for e in batch]
    assert rlp.join_list(made.rlp for made in remade) == mutant
    assert remade == list(batch)


def test_an_empty_list() -> None:
    for batch in (judge(b"\xc0", FREE, NOW), parse(b"\xc0"), parse_stream(b"", final=True)[0]):
        assert (len(batch), batch.accepted, batch.accepted_size) == (0, 0, 0)
        assert (batch.rejections, batch.confirmations, list(batch)) == ({}, [], [])
        with pytest.raises(IndexError):
            batch[0]


def test_only_bytes() -> None:
    for wrong in (None, bytearray(b"\xc0"), "text"):
        with pytest.raises(TypeError):
            judge(wrong, FREE, NOW)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            parse(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            Envelope.decode(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        judge(b"\xc0", None, NOW)  # type: ignore[arg-type]


def test_four_gibibytes_are_refused() -> None:
    try:
        huge = bytes(2**32)  # pages of zeros that nobody touches
    except MemoryError:
        pytest.skip("no room for 4 GiB of address space")
    with pytest.raises(ValueError, match="2\\^32") as caught:
        parse(huge)
    assert not isinstance(caught.value, RlpError)
    with pytest.raises(ValueError, match="2\\^32"):
        parse_stream(huge, final=False)


def test_a_stream_is_cut_anywhere() -> None:
    envelopes = [GOOD, Fields(0, 0, bytes(4)), GOOD._replace(data=bytes(300)), GOOD]
    stream = b"".join(fields.rlp for fields in envelopes)
    ends = [0]
    for fields in envelopes:
        ends.append(ends[-1] + len(fields.rlp))
    for cut in range(len(stream) + 1):
        whole = max(i for i, end in enumerate(ends) if end <= cut)
        batch, used = parse_stream(stream[:cut], final=False)
        assert (len(batch), used) == (whole, ends[whole])
        rest, used_after = parse_stream(stream[used:], final=True)
        assert used + used_after == len(stream)
        for made, fields in zip([*batch, *rest], envelopes, strict=True):
            assert_is(made, fields)
        if cut not in ends:
            with pytest.raises(RlpError, match=f"at byte {ends[whole]}"):
                parse_stream(stream[:cut], final=True)


def test_a_stream_of_something_else() -> None:
    for garbage in (b"\x00", b"\x80", b"\xbf", b"text", b"\xb8\xff", b"\xff" + b"\xff" * 8):
        for final in (False, True):
            with pytest.raises(RlpError):
                parse_stream(GOOD.rlp + garbage, final=final)


def test_a_stream_does_not_wait_for_ever() -> None:
    limit = envelope.MAX_STREAM_ENVELOPE
    largest = of_size(limit).rlp
    assert len(largest) == limit
    assert parse_stream(largest, final=False)[1] == limit
    assert parse_stream(largest[:-1], final=False)[1] == 0
    over = of_size(limit + 1).rlp
    assert parse_stream(over[:limit], final=False)[1] == 0
    for data in (over, over + GOOD.rlp):
        with pytest.raises(RlpError, match="limit"):
            parse_stream(data, final=False)
    with pytest.raises(RlpError, match="limit"):
        parse_stream(b"\xfb\xff\xff\xff\xff" + bytes(limit), final=False)
