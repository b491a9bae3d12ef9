"""Statuses against the vectors of status-go and the text of 6/WAKU1."""

import struct
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import rlp as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.statuses import items, options, pow_bits
from tests.vectors import VECTORS
from wakumail.base.rlp import encode
from wakumail.errors import DisconnectReason, ProtocolError
from wakumail.waku.bloom import BLOOM_SIZE, FULL_BLOOM, bloom_of
from wakumail.waku.confirmations import ConfirmationError, decode_batch_ack, decode_message_response
from wakumail.waku.interest import EVERYTHING, Interest
from wakumail.waku.packets import (
    DEFAULT_POW,
    MAX_STATUS_SIZE,
    MAX_TOPIC_INTEREST,
    NO_LIMITS,
    ONE_OPTION,
    Code,
    PeerSettings,
    RateLimits,
    StatusBloomError,
    StatusError,
    StatusOptions,
    StatusPowError,
    StatusTopicsError,
    WakuDialect,
    decode_one_option,
)

Case = dict[str, Any]

POW, BLOOM, LIGHT, CONFIRMATIONS, PACKET_LIMITS, TOPICS, BYTES_LIMITS = range(7)
TOPIC, OTHER_TOPIC = b"\x01\x02\x03\x04", b"\x09\x09\x09\x09"
VERSIONS = pytest.mark.parametrize("version", [0, 1])
WAKU_0, WAKU_1 = WakuDialect(0), WakuDialect(1)


def vector_options(values: Case) -> StatusOptions:
    """StatusOptions from the `options` of a vector."""

    def limits_of(name: str) -> RateLimits | None:
        return RateLimits(*values[name]) if name in values else None

    topics = values.get("topic_interest")
    bits = values["pow"]["bits"] if "pow" in values else None
    return StatusOptions(
        pow=None if bits is None else struct.unpack(">d", bytes.fromhex(bits))[0],
        bloom=bytes.fromhex(values["bloom"]) if "bloom" in values else None,
        light=values.get("light"),
        confirmations=values.get("confirmations"),
        packet_rate_limits=limits_of("packet_rate_limits"),
        topic_interest=None if topics is None else tuple(map(bytes.fromhex, topics)),
        bytes_rate_limits=limits_of("bytes_rate_limits"),
    )


def encode_update(options: StatusOptions, dialect: WakuDialect) -> bytes:
    """The payload of the only Status Update packet, or an empty list if no packet is sent."""
    packets = dialect.encode_update(options)
    assert [code for code, _ in packets] in ([], [Code.STATUS_UPDATE])
    return packets[0][1] if packets else encode([])


def decode_update(payload: bytes, version: int) -> StatusOptions:
    """The options in a Status Update packet."""
    return WakuDialect(version).decode_update(Code.STATUS_UPDATE, payload)


def decode_status(payload: bytes, version: int) -> StatusOptions:
    """The options in a status."""
    return WakuDialect(version).decode_status(payload)


def without_bytes_limits(options: StatusOptions) -> StatusOptions:
    """The options that a waku/0 status can have."""
    named = {field.name: getattr(options, field.name) for field in fields(options)}
    return StatusOptions(**named | {"bytes_rate_limits": None})


# -- status ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["status_v1"]["cases"], ids=lambda case: case["name"])
def test_vectors_of_version_1(case: Case) -> None:
    payload = bytes.fromhex(case["rlp"])
    expected = vector_options(case["options"])
    if case["name"] == "decode-only: unknown key 99 first":  # status-go loses the rest
        expected = StatusOptions(pow=2.05)
    assert decode_status(payload, 1) == expected
    assert decode_update(payload, 1) == expected
    if not case.get("decode_only"):
        assert WAKU_1.encode_status(expected) == payload
        assert encode_update(expected, WAKU_1) == payload


@pytest.mark.parametrize("case", VECTORS["status_v0"]["cases"], ids=lambda case: case["name"])
def test_vectors_of_version_0(case: Case) -> None:
    expected = vector_options(case["options"])
    status, update = bytes.fromhex(case["rlp"]), bytes.fromhex(case["status_update_rlp"])
    assert decode_status(status, 0) == expected
    assert decode_update(update, 0) == expected
    assert WAKU_0.encode_status(expected) == status
    assert encode_update(expected, WAKU_0) == update


def test_packet_codes() -> None:
    assert VECTORS["status_v1"]["packet_code"] == Code.STATUS
    assert VECTORS["status_v1"]["update_packet_code"] == Code.STATUS_UPDATE
    assert VECTORS["messages_packet"]["packet_code"] == Code.MESSAGES
    assert VECTORS["messages_response"]["packet_code"] == Code.MESSAGE_RESPONSE
    assert VECTORS["batch_ack"]["packet_code"] == Code.BATCH_ACK
    assert VECTORS["completion"]["packet_code"] == Code.P2P_REQUEST_COMPLETE
    assert VECTORS["request_envelopes"]["packet_code"] == Code.P2P_REQUEST
    assert VECTORS["p2p_messages_packet"]["packet_code"] == Code.P2P_MESSAGE


@settings(max_examples=150, deadline=None)
@given(options=options)
def test_round_trip(options: StatusOptions) -> None:
    assert decode_status(WAKU_1.encode_status(options), 1) == options
    assert decode_update(encode_update(options, WAKU_1), 1) == options
    options_0 = without_bytes_limits(options)
    assert decode_status(WAKU_0.encode_status(options), 0) == options_0
    assert decode_update(encode_update(options, WAKU_0), 0) == options_0


@settings(max_examples=60, deadline=None)
@given(options=options)
def test_encode_oracle(options: StatusOptions) -> None:
    """Read with another RLP decoder and without our tables."""
    entries = oracle.decode(WAKU_1.encode_status(options))
    assert [int.from_bytes(key, "big") for key, _ in entries] == [
        key for key, field in enumerate(fields(options)) if getattr(options, field.name) is not None
    ]
    version, entries = oracle.decode(WAKU_0.encode_status(options))
    assert version == b""
    assert {key for key, _ in entries} <= {b"0", b"1", b"2", b"3", b"4", b"5"}


@settings(max_examples=60, deadline=None)
@given(options=options, data=st.data())
def test_order_of_options_does_not_matter(options: StatusOptions, data: st.DataObject) -> None:
    entries = data.draw(st.permutations(oracle.decode(encode_update(options, WAKU_1))))
    assert decode_update(oracle.encode(entries), 1) == options


def test_integer_keys_of_nim_in_version_0() -> None:
    entries: list[Any] = [
        [POW, pow_bits(0.2)],
        [BLOOM, FULL_BLOOM],
        [LIGHT, True],
        [TOPICS, [TOPIC]],
    ]
    expected = StatusOptions(pow=0.2, bloom=FULL_BLOOM, light=True, topic_interest=(TOPIC,))
    assert decode_status(encode([0, entries]), 0) == expected
    assert decode_update(encode(entries), 0) == expected


@VERSIONS
@pytest.mark.parametrize(
    "entry",
    [
        [99, b"anything"],
        [99, [[[[[b"deep"]]]]]],
        [99],
        [],
        [[]],
        [[POW], b"a key that is a list"],
        [b"pow", 1],
        [7, 1],
        [b"6", [1, 2, 3]],
        [b"\0\1", b""],
    ],
    ids=repr,
)
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_unknown_options_are_ignored(version: int, entry: list[Any], first: bool) -> None:
    known = [LIGHT, True]
    payload = encode([entry, known] if first else [known, entry])
    assert decode_update(payload, version) == StatusOptions(light=True)


def test_keys_of_one_version_are_unknown_to_the_other() -> None:
    assert decode_update(encode([[b"2", True]]), 1) == StatusOptions()
    assert decode_update(encode([[BYTES_LIMITS, [1, 2, 3]]]), 0) == StatusOptions()


@VERSIONS
def test_what_follows_is_ignored(version: int) -> None:
    limits = [1, 2, 3, b"a later limit"]
    entries: list[Any] = [[LIGHT, True, b"a later field"], [PACKET_LIMITS, limits]]
    expected = StatusOptions(light=True, packet_rate_limits=RateLimits(1, 2, 3))
    status: list[Any] = entries if version else [0, entries, b"a later field"]
    assert decode_status(encode(status), version) == expected


@VERSIONS
def test_a_zero_key_may_be_one_zero_byte(version: int) -> None:
    assert decode_update(encode([[b"\0", b""]]), version) == StatusOptions(pow=0.0)


def test_the_last_of_repeated_options_counts() -> None:
    assert decode_update(encode([[LIGHT, True], [LIGHT, False]]), 1).light is False


@VERSIONS
@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        (POW, pow_bits(float("nan")), StatusPowError),
        (POW, pow_bits(float("inf")), StatusPowError),
        (POW, pow_bits(float("-inf")), StatusPowError),
        (POW, pow_bits(-0.002), StatusPowError),
        (POW, bytes(1), StatusError),
        (POW, b"\1" * 9, StatusError),
        (POW, [], StatusError),
        (BLOOM, b"\xff", StatusBloomError),
        (BLOOM, bytes(BLOOM_SIZE - 1), StatusBloomError),
        (BLOOM, bytes(BLOOM_SIZE + 1), StatusBloomError),
        (BLOOM, [], StatusError),
        (LIGHT, 2, StatusError),
        (LIGHT, [], StatusError),
        (CONFIRMATIONS, 2, StatusError),
        (PACKET_LIMITS, [1, 2], StatusError),
        (PACKET_LIMITS, b"", StatusError),
        (PACKET_LIMITS, [1, 2, 2**64], StatusError),
        (PACKET_LIMITS, [1, 2, [3]], StatusError),
        (TOPICS, [b"123"], StatusError),
        (TOPICS, [b"12345"], StatusError),
        (TOPICS, [[b"1234"]], StatusError),
        (TOPICS, b"1234", StatusError),
        (TOPICS, [TOPIC] * (MAX_TOPIC_INTEREST + 1), StatusTopicsError),
    ],
)
def test_refused_options(version: int, key: int, value: Any, error: type[StatusError]) -> None:
    entries = [[key, value]]
    status = encode(entries if version else [0, entries])
    for decoder, payload in ((decode_status, status), (decode_update, encode(entries))):
        with pytest.raises(StatusError) as caught:
            decoder(payload, version)
        assert type(caught.value) is error
        assert caught.value.reason is DisconnectReason.SUBPROTOCOL_ERROR


@VERSIONS
@pytest.mark.parametrize(
    "payload",
    [b"", b"\x80", b"\xc1", encode([b"x"]), encode([[LIGHT]]), b"\xc0\xc0", b"\xf8\x00"],
    ids=["nothing", "no list", "cut", "no pair", "no value", "bytes behind", "not canonical"],
)
def test_malformed_statuses(version: int, payload: bytes) -> None:
    for decoder in (decode_status, decode_update):
        with pytest.raises(StatusError) as caught:
            decoder(payload, version)
        assert type(caught.value) is StatusError


@pytest.mark.parametrize("status", [[], [0], [1, []], [[], []], [b"\0", []], [0, b""]], ids=repr)
def test_malformed_statuses_of_version_0(status: list[Any]) -> None:
    with pytest.raises(StatusError):
        decode_status(encode(status), 0)


@VERSIONS
def test_limits_of_a_status(version: int) -> None:
    topics = tuple(number.to_bytes(4, "big") for number in range(MAX_TOPIC_INTEREST))
    largest = StatusOptions(
        pow=0.002,
        bloom=FULL_BLOOM,
        light=True,
        confirmations=True,
        packet_rate_limits=RateLimits(*[2**64 - 1] * 3),
        topic_interest=topics,
    )
    assert decode_status(WakuDialect(version).encode_status(largest), version) == largest
    overhead = len(encode([0, [[99, bytes(70_000)]]])) - 70_000
    payload = encode([0, [[99, bytes(MAX_STATUS_SIZE - overhead)]]])
    assert len(payload) == MAX_STATUS_SIZE
    assert decode_status(payload, 0) == StatusOptions()
    with pytest.raises(StatusError, match="more than"):
        decode_status(payload + b"\0", version)


def test_counters_differ() -> None:
    errors: list[type[ProtocolError]] = [
        StatusError,
        StatusPowError,
        StatusBloomError,
        StatusTopicsError,
        ConfirmationError,
    ]
    assert len({error.counter for error in errors} | {ProtocolError.counter}) == len(errors) + 1


@settings(max_examples=300, deadline=None)
@given(payload=st.binary(max_size=80) | items.map(oracle.encode), version=st.integers(0, 1))
def test_any_bytes_decode_or_are_refused(payload: bytes, version: int) -> None:
    decoders: list[tuple[Callable[[], object], type[ProtocolError]]] = [
        (lambda: decode_status(payload, version), StatusError),
        (lambda: decode_update(payload, version), StatusError),
        (lambda: decode_batch_ack(payload), ConfirmationError),
        (lambda: decode_message_response(payload), ConfirmationError),
    ]
    for decoder, error in decoders:
        try:
            decoder()
        except error:
            continue


@settings(max_examples=200, deadline=None)
@given(options=options, place=st.integers(0), flip=st.integers(1, 255), version=st.integers(0, 1))
def test_changed_statuses_decode_or_are_refused(
    options: StatusOptions, place: int, flip: int, version: int
) -> None:
    payload = bytearray(WakuDialect(version).encode_status(options))
    payload[place % len(payload)] ^= flip
    try:
        decoded = decode_status(bytes(payload), version)
    except StatusError:
        return
    assert decode_status(WAKU_1.encode_status(decoded), 1) == decoded


@pytest.mark.parametrize("dialect", [WAKU_0, WAKU_1], ids=["waku/0", "waku/1"])
def test_no_update_is_sent_for_nothing(dialect: WakuDialect) -> None:
    assert dialect.encode_update(StatusOptions()) == []
    ((code, payload),) = dialect.encode_update(StatusOptions(pow=0.5))
    assert (code, decode_update(payload, dialect.version)) == (22, StatusOptions(pow=0.5))


def test_an_update_of_what_the_version_does_not_have_is_not_sent() -> None:
    assert WAKU_0.encode_update(StatusOptions(bytes_rate_limits=RateLimits(1, 2, 3))) == []


# -- updates of one option, from before there were status updates ------------------------------

OLD_UPDATES: dict[int, tuple[Any, StatusOptions]] = {
    2: (pow_bits(0.5), StatusOptions(pow=0.5)),
    3: (FULL_BLOOM, StatusOptions(bloom=FULL_BLOOM)),
    20: ([1, 2, 3], StatusOptions(packet_rate_limits=RateLimits(1, 2, 3))),
    21: ([TOPIC, OTHER_TOPIC], StatusOptions(topic_interest=(TOPIC, OTHER_TOPIC))),
}


def test_version_0_has_updates_of_one_option() -> None:
    assert set(OLD_UPDATES) == set(ONE_OPTION)
    assert WAKU_0.update_codes == {*OLD_UPDATES, Code.STATUS_UPDATE}
    assert WAKU_1.update_codes == {Code.STATUS_UPDATE}


@pytest.mark.parametrize("code", OLD_UPDATES)
def test_an_update_of_one_option(code: int) -> None:
    value, expected = OLD_UPDATES[code]
    assert WAKU_0.decode_update(code, encode(value)) == expected


@pytest.mark.parametrize(
    ("code", "value", "error"),
    [
        (2, pow_bits(float("nan")), StatusPowError),
        (2, pow_bits(-1.0), StatusPowError),
        (2, [pow_bits(1.0)], StatusError),
        (3, bytes(63), StatusBloomError),
        (3, [FULL_BLOOM], StatusError),
        (20, [1, 2], StatusError),
        (20, b"", StatusError),
        (21, [TOPIC] * (MAX_TOPIC_INTEREST + 1), StatusTopicsError),
        (21, [b"123"], StatusError),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_refused_updates_of_one_option(code: int, value: Any, error: type[StatusError]) -> None:
    with pytest.raises(StatusError) as caught:
        WAKU_0.decode_update(code, encode(value))
    assert type(caught.value) is error


@settings(max_examples=150, deadline=None)
@given(
    code=st.sampled_from(sorted(ONE_OPTION)),
    payload=st.binary(max_size=80) | items.map(oracle.encode),
)
def test_any_update_of_one_option_decodes_or_is_refused(code: int, payload: bytes) -> None:
    try:
        options = decode_one_option(code, payload)
    except StatusError:
        return
    assert [f.name for f in fields(options) if getattr(options, f.name) is not None] == [
        ONE_OPTION[code]
    ]


# -- settings of a peer ------------------------------------------------------------------------


def test_settings_without_options() -> None:
    settings = PeerSettings()
    assert settings.pow == DEFAULT_POW == 0.001
    assert settings.interest == EVERYTHING
    assert settings.packet_rate_limits == settings.bytes_rate_limits == NO_LIMITS
    assert settings.updated(StatusOptions()) == settings


@settings(max_examples=100, deadline=None)
@given(options=options, later=options)
def test_what_an_update_does_not_name_stays(options: StatusOptions, later: StatusOptions) -> None:
    before = PeerSettings().updated(options)
    after = before.updated(later)
    for name in ("pow", "light", "confirmations", "packet_rate_limits", "bytes_rate_limits"):
        named = getattr(later, name)
        assert getattr(after, name) == (getattr(before, name) if named is None else named)
    if later.bloom is None and later.topic_interest is None:
        assert after.interest == before.interest


def test_a_bloom_discards_the_topic_interest() -> None:
    settings = PeerSettings().updated(StatusOptions(topic_interest=(TOPIC,)))
    settings = settings.updated(StatusOptions(bloom=bloom_of([OTHER_TOPIC])))
    assert settings.interest == Interest(bloom=bloom_of([OTHER_TOPIC]))
    assert not settings.interest.wants(TOPIC)
    assert settings.interest.wants(OTHER_TOPIC)


def test_a_topic_interest_discards_the_bloom() -> None:
    settings = PeerSettings().updated(StatusOptions(bloom=bloom_of([OTHER_TOPIC])))
    settings = settings.updated(StatusOptions(topic_interest=(TOPIC,)))
    assert settings.interest == Interest(topics=(TOPIC,))
    assert settings.interest.wants(TOPIC)
    assert not settings.interest.wants(OTHER_TOPIC)


def test_a_topic_interest_wins_over_a_bloom_beside_it() -> None:
    options = StatusOptions(bloom=bloom_of([OTHER_TOPIC]), topic_interest=(TOPIC,))
    interest = PeerSettings().updated(options).interest
    assert interest.wants(TOPIC)
    assert not interest.wants(OTHER_TOPIC)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (StatusOptions(), True),
        (StatusOptions(topic_interest=()), False),
        (StatusOptions(bloom=b""), True),
        (StatusOptions(bloom=FULL_BLOOM), True),
        (StatusOptions(bloom=bytes(BLOOM_SIZE)), False),
        (StatusOptions(bloom=FULL_BLOOM, topic_interest=()), False),
    ],
    ids=["nothing", "no topics", "no bloom", "full bloom", "bloom of zeros", "full, no topics"],
)
def test_wants_everything_or_nothing(options: StatusOptions, wanted: bool) -> None:
    interest = PeerSettings().updated(options).interest
    assert interest.wants(TOPIC) is wanted
    assert (interest == EVERYTHING) is wanted
