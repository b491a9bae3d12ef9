"""Whisper 6 against the text of EIP-627 and WHISPER-USAGE, and packets of Go and nim clients."""

import struct
from collections.abc import Callable
from typing import Any

import pytest
import rlp as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.envelopes import make
from tests.support.statuses import items, options, pow_bits
from wakumail.base.rlp import encode, join_list
from wakumail.errors import RlpError
from wakumail.waku.bloom import BLOOM_SIZE, FULL_BLOOM, bloom_of, covers
from wakumail.waku.envelope import Verdict
from wakumail.waku.packets import (
    DEFAULT_POW,
    MAX_STATUS_SIZE,
    Code,
    PeerSettings,
    RateLimits,
    StatusBloomError,
    StatusError,
    StatusOptions,
    StatusPowError,
)
from wakumail.waku.whisper import WHISPER_VERSION, WhisperDialect

SHH = WhisperDialect()
BLOOM = bloom_of([b"topi"])
LIMITS = RateLimits(1, 2, 3)


# -- status ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ([6], StatusOptions()),
        ([6, pow_bits(0.2)], StatusOptions(pow=0.2)),
        ([6, pow_bits(0.2), BLOOM], StatusOptions(pow=0.2, bloom=BLOOM)),
        ([6, b"", b"", 1], StatusOptions(pow=0.0, bloom=b"", light=True)),
        (
            [6, pow_bits(0.002), FULL_BLOOM, 0, 1],
            StatusOptions(pow=0.002, bloom=FULL_BLOOM, light=False, confirmations=True),
        ),
        (
            [6, pow_bits(0.002), FULL_BLOOM, 0, 1, LIMITS],
            StatusOptions(0.002, FULL_BLOOM, False, True, packet_rate_limits=LIMITS),
        ),
        (
            [6, pow_bits(0.002), FULL_BLOOM, 0, 1, LIMITS, [b"of", [b"later"]]],
            StatusOptions(0.002, FULL_BLOOM, False, True, packet_rate_limits=LIMITS),
        ),
    ],
    ids=["version", "pow", "bloom", "geth and nim", "status-go", "with limits", "with more"],
)
def test_all_but_the_version_is_optional(status: list[Any], expected: StatusOptions) -> None:
    assert SHH.decode_status(encode(status)) == expected


def test_a_status_names_all_that_precedes_what_it_names() -> None:
    """Read with another RLP decoder and without our tables."""
    version, pow_, bloom, light, confirmations = oracle.decode(SHH.encode_status(StatusOptions()))
    assert version == bytes([WHISPER_VERSION])
    assert struct.unpack(">d", pow_) == (DEFAULT_POW,)
    assert (bloom, light, confirmations) == (FULL_BLOOM, b"", b"")
    limited = StatusOptions(light=True, packet_rate_limits=LIMITS)
    *_, light, confirmations, limits = oracle.decode(SHH.encode_status(limited))
    assert (light, confirmations, limits) == (b"\x01", b"", [b"\x01", b"\x02", b"\x03"])


@settings(max_examples=100, deadline=None)
@given(options=options)
def test_what_a_whisper_peer_makes_of_our_status(options: StatusOptions) -> None:
    ours = PeerSettings().updated(options)
    theirs = PeerSettings().updated(SHH.decode_status(SHH.encode_status(options)))
    assert (theirs.pow, theirs.light) == (ours.pow, ours.light)
    assert theirs.confirmations == ours.confirmations
    assert theirs.packet_rate_limits == ours.packet_rate_limits
    if options.topic_interest is None:
        assert theirs.interest == ours.interest
    else:
        assert all(theirs.interest.wants(topic) for topic in options.topic_interest)


def test_a_bloom_stands_for_a_topic_interest() -> None:
    topics = (b"topi", b"else")
    status = SHH.decode_status(SHH.encode_status(StatusOptions(topic_interest=topics)))
    assert status.bloom is not None
    assert all(covers(status.bloom, topic) for topic in topics)
    assert not covers(status.bloom, b"\xff\xff\xff\xff")
    nothing = SHH.decode_status(SHH.encode_status(StatusOptions(topic_interest=())))
    assert nothing.bloom == bytes(BLOOM_SIZE)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ([], StatusError),
        ([5], StatusError),
        ([[6]], StatusError),
        ([b"\0\6"], StatusError),
        (b"\6", StatusError),
        ([6, pow_bits(float("inf"))], StatusPowError),
        ([6, pow_bits(-1.0)], StatusPowError),
        ([6, [b""]], StatusError),
        ([6, b"", bytes(63)], StatusBloomError),
        ([6, b"", b"", 2], StatusError),
        ([6, b"", b"", 1, [b""]], StatusError),
        ([6, b"", b"", 1, 0, [1, 2]], StatusError),
        ([6] + [b""] * 64, StatusError),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_refused_statuses(status: Any, error: type[StatusError]) -> None:
    with pytest.raises(StatusError) as caught:
        SHH.decode_status(encode(status))
    assert type(caught.value) is error


def test_the_limit_of_a_status() -> None:
    status: list[Any] = [6, b"", b"", 0, 0, [0, 0, 0]]
    overhead = len(encode([*status, bytes(70_000)])) - 70_000
    payload = encode([*status, bytes(MAX_STATUS_SIZE - overhead)])
    assert len(payload) == MAX_STATUS_SIZE
    SHH.decode_status(payload)
    with pytest.raises(StatusError, match="more than"):
        SHH.decode_status(payload + b"\0")
    with pytest.raises(StatusError, match="more than"):
        SHH.decode_update(Code.BLOOM, payload + b"\0")


@settings(max_examples=200, deadline=None)
@given(payload=st.binary(max_size=80) | items.map(oracle.encode))
def test_any_status_decodes_or_is_refused(payload: bytes) -> None:
    try:
        status = SHH.decode_status(payload)
    except StatusError:
        return
    assert status.topic_interest is None


# -- updates -----------------------------------------------------------------------------------


def test_each_option_is_updated_by_its_own_packet() -> None:
    changed = StatusOptions(pow=0.5, bloom=BLOOM, packet_rate_limits=LIMITS)
    packets = SHH.encode_update(changed)
    assert [code for code, _ in packets] == [2, 3, 20] == sorted(SHH.update_codes)
    pow_, bloom, limits = (oracle.decode(payload) for _, payload in packets)
    assert struct.unpack(">d", pow_) == (0.5,)
    assert (bloom, limits) == (BLOOM, [b"\x01", b"\x02", b"\x03"])
    assert [SHH.decode_update(*packet) for packet in packets] == [
        StatusOptions(pow=0.5),
        StatusOptions(bloom=BLOOM),
        StatusOptions(packet_rate_limits=LIMITS),
    ]


@pytest.mark.parametrize(
    ("changed", "bloom"),
    [
        (StatusOptions(topic_interest=(b"topi",)), BLOOM),
        (StatusOptions(topic_interest=()), bytes(BLOOM_SIZE)),
        (StatusOptions(bloom=b""), FULL_BLOOM),  # Go clients refuse any other size
    ],
    ids=["topics", "no topics", "empty bloom"],
)
def test_the_bloom_of_an_update_is_whole(changed: StatusOptions, bloom: bytes) -> None:
    assert SHH.encode_update(changed) == [(Code.BLOOM, encode(bloom))]


def test_what_whisper_cannot_say_is_not_sent() -> None:
    changed = StatusOptions(light=True, confirmations=True, bytes_rate_limits=LIMITS)
    assert SHH.encode_update(changed) == []


# -- history -----------------------------------------------------------------------------------

ENVELOPES = make(3, [b"topi"])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_history_may_be_a_list(count: int) -> None:
    sent = [envelope.rlp for envelope in ENVELOPES[:count]]
    assert [envelope.rlp for envelope in SHH.decode_history(join_list(sent), 1000)] == sent


def test_history_may_be_one_envelope() -> None:
    (envelope,) = SHH.decode_history(ENVELOPES[0].rlp, 1000)
    assert envelope == ENVELOPES[0]


@pytest.mark.parametrize("pack", [lambda rlp: rlp, lambda rlp: join_list([rlp])])
def test_history_is_measured(pack: Callable[[bytes], bytes]) -> None:
    rlp = ENVELOPES[0].rlp
    assert SHH.decode_history(pack(rlp), len(rlp)).accepted == 1
    assert SHH.decode_history(pack(rlp), len(rlp) - 1).rejections == {Verdict.TOO_LARGE: 1}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"garbage",
        encode([1, 2, b"topi", b""]),
        join_list([join_list([ENVELOPES[0].rlp])]),
        ENVELOPES[0].rlp + ENVELOPES[1].rlp,
    ],
    ids=["nothing", "garbage", "four items", "a list in a list", "two without a list"],
)
def test_malformed_history(payload: bytes) -> None:
    with pytest.raises(RlpError):
        SHH.decode_history(payload, 1000)
